"""The way from a model to a job that uses it: which use, its options, its engine."""

from screens.base import FtScreen
from screens.use.dialog import PickUse, UseForm


async def use(screen: FtScreen, reference: str, name: str) -> None:
    """Ask what to do with a model, and start it. Call it in a worker (`@work`).

    `reference` is the model as `TrainedModel.find` takes it, `name` what a person calls it.
    """
    chosen = await screen.app.push_screen_wait(PickUse(name))
    if chosen is None:
        return
    run = await screen.app.push_screen_wait(UseForm(chosen, reference, name))
    if run is not None:
        await screen.host.start_job(run)
