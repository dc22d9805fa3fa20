"""The tabs that show one image, which follows every control at once: a sample, a mixture, a move
along directions.
"""

import gradio as gr

from data.sizes import SIZES
from explorer import recipes
from explorer.recipes import Look
from explorer.worker import MIDDLE

NEIGHBOURS = 12
SLIDERS = 8  # directions
LAST = len(SIZES) - 1  # level
MOST_SEED = 2**53 - 1  # of a whole number in a browser
SPANS = {"coarse": "4 and 8 px", "middle": "16 and 32 px", "fine": "64 px and more"}
LATEST = {"trigger_mode": "always_last", "show_progress": "hidden", "concurrency_limit": None}
HEAVY = {"trigger_mode": "once", "concurrency_limit": None}


class Tab:
    """Controls and what they make.

    `controls`: those that `show` is called with and follows; `shown`: what it returns. `psi`,
    `labels`, and `choices` of pictures: what changes with the checkpoint or with what was found.
    """

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint  # shown first
        self.controls, self.shown, self.psi, self.labels, self.choices = [], [], [], [], []

    def seed(self, label: str, value: int = 0, least: int = 0):
        more = {"minimum": least, "maximum": MOST_SEED, "precision": 0, "step": 1}
        return gr.Number(value, label=label, **more)

    def picture(self, desk):
        """A choice among the pictures that were found; nothing stands for the seed."""
        more = {"label": "or a picture", "allow_custom_value": True}  # others may be found
        field = gr.Dropdown(choices(desk), value="", **more)
        self.choices.append(field)
        return field

    def look(self) -> list:
        """The controls of a Look."""
        psi = gr.Slider(-2, 2, self.checkpoint.psi, step=0.05, label="psi (truncation)")
        self.psi.append(psi)
        levels = level("truncated up to level", self.checkpoint.psi_levels)
        noise_seed = self.seed("noise seed (-1: the image's own)", -1, -1)
        strength = gr.Slider(0, 5, 1, step=0.1, label="noise strength")
        more = {"label": "label", "allow_custom_value": True}  # other checkpoints have others
        label = gr.Dropdown(value="", **more, **label_choices(self.checkpoint))
        self.labels.append(label)
        return [psi, levels, noise_seed, strength, label]

    def result(self) -> list:
        """Where the image and its command are shown."""
        return [picture_field("the image"), command_field()]


def level(label: str, value: int):
    """A slider of levels, those too that an image may not have: there are other checkpoints."""
    return gr.Slider(0, LAST, value, step=1, label=f"{label} (0: 4 px to {LAST}: {SIZES[-1]} px)")


def label_choices(checkpoint) -> dict:
    """What a field of labels offers, where there are any."""
    offered = [("drawn by the seed", ""), *checkpoint.labels]
    return {"choices": offered, "visible": bool(checkpoint.labels)}


def choices(desk) -> list:
    return [("the seed", ""), *desk.studio.pictures()]


def picture_field(label: str):
    """An image, enlarged pixel by pixel."""
    more = {"buttons": ["download", "fullscreen"], "elem_classes": "pixels", "height": 420}
    return gr.Image(label=label, format="png", type="filepath", interactive=False, **more)


def command_field():
    more = {"buttons": ["copy"], "lines": 2, "max_lines": 6, "interactive": False}
    return gr.Textbox(label="the command that makes this", **more)


def gallery(label: str, columns: int, height=None):
    """Images with captions; who chooses one sees it where it is used."""
    more = {"allow_preview": False, "fit_columns": False, "object_fit": "contain"}
    more.update(elem_classes="pixels", interactive=False, format="png")
    return gr.Gallery(label=label, columns=columns, height=height, **more)


def sample(desk, ckpt, checkpoint) -> Tab:
    """One image, and those of its neighbours to choose from."""
    tab = Tab(checkpoint)
    with gr.Row():
        with gr.Column():
            seed, picture = tab.seed("seed"), tab.picture(desk)
            look = tab.look()
        with gr.Column():
            tab.shown = tab.result()
    button = gr.Button("the next seeds")
    near = gallery("neighbours: choose one", 6)

    async def show(request: gr.Request, name, seed, picture, *look):
        def recipe(studio):
            chosen = recipes.source(seed, picture, studio.pictures())
            return recipes.single(studio.checkpoint(name), chosen, Look(*look))

        return await desk.picture(request, "sample", recipe)

    async def neighbours(
        request: gr.Request,
        name,
        seed,
        psi,
        levels,
        noise,
        strength,
        label,
        progress=gr.Progress(),  # noqa: B008
    ):
        def wanted_of(studio):
            checkpoint, look = studio.checkpoint(name), Look(psi, levels, noise, strength, label)
            first = recipes.whole(seed, "seed", 0, MOST_SEED - NEIGHBOURS) + 1
            seeds = range(first, first + NEIGHBOURS)
            return seeds, lambda near: recipes.single(checkpoint, near, look)

        return await desk.pictures(request, "neighbours", wanted_of, progress)

    def choose(event: gr.SelectData):
        return int(event.value["caption"]), ""

    tab.show, tab.name, tab.controls = show, "sample", [ckpt, seed, picture, *look]
    inputs = [ckpt, seed, *look]
    button.click(neighbours, inputs, near, api_name="neighbours", **HEAVY)
    near.select(choose, None, [seed, picture], api_visibility="private")
    return tab


def mix(desk, ckpt, checkpoint) -> Tab:
    """Coarse, middle and fine styles, each of a seed or picture of its own."""
    tab = Tab(checkpoint)
    sources, tab.rows = [], {}
    with gr.Row():
        with gr.Column():
            for i, (name, span) in enumerate(SPANS.items()):
                with gr.Row(visible=name in recipes.bands(checkpoint)) as tab.rows[name]:
                    sources += [tab.seed(f"{name} ({span}): seed", i), tab.picture(desk)]
            look = tab.look()
        with gr.Column():
            tab.shown = tab.result()

    async def show(request: gr.Request, name, *values):
        def recipe(studio):
            known, pairs = studio.pictures(), zip(values[:6:2], values[1:6:2])
            chosen = [recipes.source(seed, picture, known) for seed, picture in pairs]
            return recipes.mixed(studio.checkpoint(name), chosen, Look(*values[6:]))

        return await desk.picture(request, "mix", recipe)

    tab.show, tab.name, tab.controls = show, "mix", [ckpt, *sources, *look]
    return tab


def directions(desk, ckpt, checkpoint) -> Tab:
    """An image moved along the principal components of w."""
    tab = Tab(checkpoint)
    with gr.Row():
        with gr.Column():
            seed, picture = tab.seed("seed"), tab.picture(desk)
            more = {"step": 0.1, "value": 0}
            steps = [gr.Slider(-5, 5, label=f"direction {i}", **more) for i in range(SLIDERS)]
            levels = [level("from level", 0), level("to level", LAST)]
            zero = gr.Button("back to 0")
            with gr.Accordion("psi and noise", open=False):
                look = tab.look()
        with gr.Column():
            gr.Markdown("Sliders are in standard deviations of w along each direction.")
            tab.shown = tab.result()

    async def show(request: gr.Request, name, seed, picture, first, last, *values):
        def recipe(studio):
            chosen = recipes.source(seed, picture, studio.pictures())
            look, far = Look(*values[SLIDERS:]), values[:SLIDERS]
            return recipes.moved(studio.checkpoint(name), chosen, look, far, (first, last))

        return await desk.picture(request, "directions", recipe)

    async def find(request: gr.Request, name):
        """How much of w's variance each slider moves along; found before the first is moved."""

        def task(pause):
            return desk.studio.directions(name, pause)

        for principal in await desk.ask(request, "find", task, MIDDLE):
            if principal is not None:
                percents = [100 * share for share in principal.shares[:SLIDERS]]
                percents += [None] * (SLIDERS - len(percents))
                return [label(i, percent) for i, percent in enumerate(percents)]
        return [gr.skip()] * SLIDERS

    def label(i, percent):
        if percent is None:
            return gr.update(visible=False)
        return gr.update(label=f"direction {i} ({percent:.1f} % of the variance)", visible=True)

    tab.find, tab.steps = find, steps
    tab.show, tab.name = show, "directions"
    tab.controls = [ckpt, seed, picture, *levels, *steps, *look]
    zero.click(lambda: [0] * SLIDERS, None, steps, api_visibility="private")
    return tab
