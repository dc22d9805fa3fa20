"""Between the page and the worker: what a handler of Gradio waits for, and the sentence that a
window gets when it went wrong.
"""

import asyncio
import traceback
from collections import deque

import gradio as gr

from backend.terminal import UserError, explained
from explorer import recipes
from explorer.worker import MIDDLE, SHORT

GLANCE = 0.2  # seconds between looks at what is under way


def sentence(e: BaseException) -> str:
    """What went wrong, for who asked; what nobody foresaw, in the terminal too."""
    if isinstance(e, UserError):
        return str(e)
    if isinstance(e, MemoryError):
        return "there is not enough memory"
    if isinstance(e, OSError):
        return explained(e)
    traceback.print_exception(type(e), e, e.__traceback__)
    return f"this went wrong: {type(e).__name__}, see the terminal"


class Desk:
    """What the tabs share: the studio, its worker, the shelf for files that are shown."""

    def __init__(self, studio, worker, shelf):
        self.studio, self.worker, self.shelf = studio, worker, shelf

    async def watched(self, request, tab: str, task, length: int = SHORT):
        """Has task(pause) done. Yields now and then meanwhile, and last a tuple of what came of it:
        () if something newer of that window and tab was faster, or it was stopped. Raises gr.Error.
        """
        future = None
        try:
            future = self.worker.submit(task, (request.session_hash, tab), length)
            waited = asyncio.wrap_future(future)
            while not (await asyncio.wait([waited], timeout=GLANCE))[0]:
                yield None
            yield () if waited.cancelled() else (waited.result(),)
        except Exception as e:
            raise gr.Error(sentence(e), print_exception=False) from None
        finally:
            if future is not None and not future.done():  # the window was closed
                self.stop(request, tab)

    async def ask(self, request, tab: str, task, length: int = SHORT, glance=None):
        """The same tuple, at the end. glance: called now and then meanwhile."""
        async for results in self.watched(request, tab, task, length):
            if results is not None:
                return results
            if glance is not None:
                glance()

    def stop(self, request, tab: str) -> None:
        self.worker.stop((request.session_hash, tab))

    async def picture(self, request, tab: str, recipe):
        """(path, command line) of one image, as a gr.Image and a text show them. recipe: called by
        the worker with the studio, returns the command.
        """
        results = await self.ask(request, tab, lambda _: self.studio.picture(recipe(self.studio)))
        for image in results:
            command = recipes.shown("generate.py", image.command)
            return self.shelf.add(image.name, image.png), command
        return gr.skip(), gr.skip()

    async def pictures(self, request, tab: str, wanted_of, progress=None, lenient=False):
        """[(path, caption)] of several images, as a gr.Gallery shows them.

        wanted_of: called by the worker with the studio, returns (what is wanted, a function that
        gives the command for each). progress: called with (done, of all) now and then. lenient:
        leaves out what cannot be drawn, unless that is everything.
        """
        done = deque([(0, 1)], maxlen=1)

        def task(pause):
            wanted, command_of = wanted_of(self.studio)
            images, problem = [], None
            for i, caption in enumerate(wanted):
                try:
                    images.append((str(caption), self.studio.picture(command_of(caption))))
                except UserError as e:
                    if not lenient:
                        raise
                    problem = e
                done.append((i + 1, len(wanted)))
                if pause():
                    return []
            if problem and not images:
                raise problem
            return images

        glance = None if progress is None else lambda: progress(done[0])
        results = await self.ask(request, tab, task, MIDDLE, glance)
        for images in results:
            return [(self.shelf.add(image.name, image.png), caption) for caption, image in images]
        return gr.skip()
