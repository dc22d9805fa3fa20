"""The page: a Gradio app of six tabs, and the server that shows it."""

import hmac

import gradio as gr

from explorer import images, works
from explorer.images import LATEST
from explorer.recipes import bands

MOST_UPLOADED = 20 * 2**20  # bytes of one file
MOST_SESSIONS = 200  # whose state is kept
SYSTEM = ("system-ui", "sans-serif")
CSS = """
.pixels img, .pixels video { image-rendering: pixelated; object-fit: contain !important; }
.pixels .image-container img, .pixels .image-frame img { width: 100%; height: 100%; }
"""


def build(desk, checkpoint) -> gr.Blocks:
    """The app. checkpoint: the one that is shown first, a `recipes.Checkpoint`."""
    with gr.Blocks(title="StyleGAN", analytics_enabled=False) as app:
        names = list(desk.studio.checkpoints())
        more = {"label": "checkpoint", "allow_custom_value": True}  # there may be others soon
        ckpt = gr.Dropdown(names, value=desk.studio.first, **more)
        with gr.Tab("Sample"):
            sample = images.sample(desk, ckpt, checkpoint)
        with gr.Tab("Mix") as second:
            mix = images.mix(desk, ckpt, checkpoint)
        with gr.Tab("Directions") as third:
            directions = images.directions(desk, ckpt, checkpoint)
        with gr.Tab("Walk") as fourth:
            walk = works.walk(desk, ckpt, checkpoint)
        with gr.Tab("Picture"):
            picture = works.picture(desk, ckpt, checkpoint)
        with gr.Tab("Checkpoints"):
            works.checkpoints(desk, ckpt, checkpoint)
        follow(sample, app.load)
        for place, tab in ((second, mix), (third, directions), (fourth, walk)):
            follow(tab, place.select)
        find = {"inputs": ckpt, "outputs": directions.steps, "api_name": "find", **LATEST}
        gr.on([third.select], directions.find, **find)
        tabs = [sample, mix, directions, walk]
        fields = [field for tab in tabs for field in tab.choices]
        update = {"outputs": fields, "api_visibility": "private", "concurrency_limit": None}
        app.load(lambda: works.new_choices(desk, len(fields)), **update)
        picture.done.then(lambda: works.new_choices(desk, len(fields)), **update)
        fit(desk, ckpt, tabs, mix.rows, directions.steps)
    return app


def follow(tab, *events) -> None:
    """Shows the tab's image at these events and whenever a control changes."""
    events = [*events, *(control.change for control in tab.controls[1:])]  # but the checkpoint
    gr.on(events, tab.show, tab.controls, tab.shown, api_name=tab.name, **LATEST)


def fit(desk, ckpt, tabs, rows, steps) -> None:
    """Lets the controls be what another checkpoint wants, and then shows it. rows: of the bands
    that are mixed; steps: along directions, whose shares are not known yet.
    """
    psis = [field for tab in tabs for field in tab.psi]
    labels = [field for tab in tabs for field in tab.labels]
    fields = [*psis, *labels, *rows.values(), *steps]

    async def settle(request: gr.Request, name):
        for checkpoint in await desk.ask(request, "fit", lambda _: desk.studio.checkpoint(name)):
            shown = bands(checkpoint)
            return [
                *(gr.update(value=checkpoint.psi) for _ in psis),
                *(gr.update(value="", **images.label_choices(checkpoint)) for _ in labels),
                *(gr.update(visible=band in shown) for band in rows),
                *(gr.update(label=f"direction {i}", visible=True) for i in range(len(steps))),
            ]
        return [gr.skip()] * len(fields)

    event = ckpt.change(settle, ckpt, fields, api_name="fit", **LATEST)
    for tab in tabs:
        event.then(tab.show, tab.controls, tab.shown, api_visibility="private", **LATEST)


def door(password: str):
    """Lets in who knows the password, under any name."""
    return lambda _, given: hmac.compare_digest(given.encode(), password.encode())


def serve(app, host: str, port, password, share: bool = False) -> tuple:
    """Starts the server, in threads of its own: (its address, with `share` the one at Gradio's
    servers or None if they do not give one). Raises OSError where it cannot have the port.
    """
    theme = gr.themes.Base(font=SYSTEM, font_mono=("ui-monospace", "monospace"))
    app.queue(default_concurrency_limit=None, max_size=256)
    _, *addresses = app.launch(
        server_name=host,
        server_port=port,
        share=share,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        auth=(lambda user, given: hmac.compare_digest(given.encode(), password.encode()))
        if password
        else None,
        auth_message="Any name, and the password that explore.py was started with.",
        allowed_paths=[],
        max_file_size=MOST_UPLOADED,
        state_session_capacity=MOST_SESSIONS,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        theme=theme,
        css=CSS,
    )
    return tuple(addresses)
