"""The tabs whose work takes a while: walks, pictures that are projected, checkpoints compared."""

import io
from collections import deque

import gradio as gr
import numpy as np

from backend.terminal import UserError
from explorer import recipes
from explorer.images import HEAVY, Tab, choices, command_field, gallery, picture_field
from explorer.recipes import Look
from explorer.worker import LONG, MIDDLE
from figures.grid import encode_png, to_bytes

MOST_CHECKPOINTS = 16  # compared


def walk(desk, ckpt, checkpoint) -> Tab:
    """A closed walk through latents in a row."""
    tab = Tab(checkpoint)
    with gr.Row():
        with gr.Column():
            text = "latents: seeds, or names of pictures, separated by commas"
            keys = gr.Textbox("0, 1, 2, 3", label=text, max_length=1000)
            frames = gr.Slider(2, 240, 60, step=1, label="frames")
            fps = gr.Slider(1, 50, 20, step=1, label="frames a second")
            space = gr.Radio(["z", "w"], value="w", label="space (w where a picture is among them)")
            suffix = gr.Radio(["webp", "gif", "mp4"], value="webp", label="kind of file")
            with gr.Accordion("psi and noise", open=False):
                look = tab.look()
            with gr.Row():
                make, stop = gr.Button("walk", variant="primary"), gr.Button("stop")
        with gr.Column():
            row = gallery("latents", 8, 170)
            loop = picture_field("the loop")
            more = {"loop": True, "autoplay": True, "height": 420, "elem_classes": "pixels"}
            film = gr.Video(label="the loop", visible=False, interactive=False, **more)
            file = gr.File(label="saved", interactive=False)
            command = command_field()

    stops, play = walking(desk)
    tab.show, tab.name, tab.shown, tab.controls = stops, "keys", [row], [ckpt, keys, *look]
    inputs = [ckpt, keys, frames, fps, space, suffix, *look]
    make.click(play, inputs, [loop, film, file, command], api_name="walk", **HEAVY)
    stop.click(stopper(desk, "walk"), None, None, api_name="stop_walk", concurrency_limit=None)
    return tab


def walking(desk):
    """What a walk's tab does: shows the latents, makes the loop."""

    async def stops(request: gr.Request, name, keys, *look):
        def wanted_of(studio):
            checkpoint, wanted = studio.checkpoint(name), recipes.keys_of(keys, studio.pictures())
            return wanted, lambda key: recipes.single(checkpoint, key, Look(*look))

        return await desk.pictures(request, "keys", wanted_of)

    async def play(
        request: gr.Request,
        name,
        keys,
        frames,
        fps,
        space,
        suffix,
        psi,
        levels,
        noise,
        strength,
        label,
        progress=gr.Progress(),  # noqa: B008
    ):
        drawn = deque([(0, 1)], maxlen=1)  # frames drawn, and all

        def task(pause):
            wanted = recipes.keys_of(keys, desk.studio.pictures())
            look = Look(psi, levels, noise, strength, label)
            checkpoint = desk.studio.checkpoint(name)
            command = recipes.walk(checkpoint, wanted, look, frames, fps, space, suffix)
            path = desk.studio.walk(command, pause, drawn.append)
            return path and (str(path), recipes.shown("generate.py", command))

        results = await desk.ask(request, "walk", task, MIDDLE, lambda: progress(drawn[0]))
        for path, command in filter(None, results):
            images = gr.update(value=None if suffix == "mp4" else path, visible=suffix != "mp4")
            films = gr.update(value=path if suffix == "mp4" else None, visible=suffix == "mp4")
            return images, films, path, command
        return [gr.skip()] * 4

    return stops, play


def stopper(desk, name: str):
    def stop(request: gr.Request):
        desk.stop(request, name)

    return stop


def picture(desk, ckpt, checkpoint) -> Tab:
    """A picture of one's own, projected."""
    tab = Tab(checkpoint)
    with gr.Row():
        with gr.Column():
            upload = gr.File(label="a picture", type="filepath", height=140)
            steps = gr.Slider(10, 2000, 300, step=10, label="iterations")
            w_plus = gr.Checkbox(True, label="a w for each level (nearer, less like the others)")
            text = "compare by LPIPS too (needs requirements-metrics.txt)"
            lpips = gr.Checkbox(False, label=text)
            with gr.Row():
                begin, cancel = gr.Button("project", variant="primary"), gr.Button("cancel")
            text = "What is found is in `results/` and can be chosen in the other tabs; with psi 1 "
            gr.Markdown(text + "it is shown as it was found.")
        with gr.Column():
            image = picture_field("found so far")
            said = gr.Textbox(label="progress", interactive=False)
            command = command_field()

    async def project(request: gr.Request, name, upload, steps, w_plus, lpips):
        seen = deque(maxlen=1)  # the last iteration

        def task(pause):
            if not upload:
                raise UserError("drop a picture first")
            checkpoint, path = desk.studio.checkpoint(name), desk.studio.keep(upload)
            said = None
            try:
                command = recipes.projection(checkpoint, path, steps, w_plus, 1, lpips)
                said = desk.studio.project(command, pause, seen.append)
            finally:
                if said is None:
                    path.unlink()
            shown = str(recipes.RESULTS / f"{path.stem}-project.png")
            return said, shown, recipes.shown("projector.py", command)

        async for results in desk.watched(request, "picture", task, LONG):
            if results is None:
                text, shown = progress_of(desk, seen)
                yield shown, text, gr.skip()
                continue
            for text, shown, command in results:
                if text is not None:
                    yield shown, text, command
                    return
            yield gr.skip(), "stopped; nothing was written", gr.skip()

    inputs, tab.shown = [ckpt, upload, steps, w_plus, lpips], [image, said, command]
    more = {"api_name": "project", "show_progress": "hidden"}
    tab.done = begin.click(project, inputs, tab.shown, **more, **HEAVY)
    cancel.click(stopper(desk, "picture"), None, None, api_name="cancel", concurrency_limit=None)
    return tab


def progress_of(desk, seen):
    """What to say of the last iteration, and where its image is."""
    if not seen:
        return "waiting", gr.skip()
    now, file = seen[0], io.BytesIO()
    encode_png(to_bytes(now.images[0]).transpose(1, 2, 0), file)
    text = f"iteration {now.iteration + 1} of {now.steps}, loss {now.loss[0]:.4g}"
    return text, desk.shelf.add("search.png", file.getvalue())


def evenly(names, count: int) -> list:
    """At most so many of them, first and last among them."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[i] for i in places]


def checkpoints(desk, ckpt, checkpoint) -> Tab:
    """One seed's images, checkpoint after checkpoint."""
    tab = Tab(checkpoint)
    text = f"`{desk.studio.folder}`: one seed through training, at most {MOST_CHECKPOINTS} of them."
    gr.Markdown(text + " Choose one to go on with it in all tabs.")
    with gr.Row():
        seed, button = tab.seed("seed"), gr.Button("look through", variant="primary")
        fresh = gr.Button("look for new ones")
    row = gallery("the same seed, first checkpoint to last", 8)

    async def through(request: gr.Request, seed, progress=gr.Progress()):  # noqa: B008
        def wanted_of(studio):
            one = recipes.whole(seed, "seed")
            names = evenly(list(studio.checkpoints())[::-1], MOST_CHECKPOINTS)
            return names, lambda name: recipes.single(studio.checkpoint(name), one, Look())

        return await desk.pictures(request, "through", wanted_of, progress, lenient=True)

    button.click(through, seed, row, api_name="checkpoints", **HEAVY)
    names = lambda: gr.update(choices=list(desk.studio.checkpoints()))  # noqa: E731
    fresh.click(names, None, ckpt, api_name="look", concurrency_limit=None)
    row.select(chosen, None, ckpt, api_visibility="private")
    return tab


def chosen(event: gr.SelectData):
    return event.value["caption"]


def new_choices(desk, count: int) -> list:
    """For fields that offer pictures."""
    return [gr.update(choices=choices(desk)) for _ in range(count)]
