"""The Recipe screen as it is used: text and form in step, problems on their line, the plan live."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.app_pilot import MACHINE
from tests.recipe_pilot import RECIPE, project, recipe_screen


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe that the app is started beside."""
    return project(tmp_path, monkeypatch) / "train.yml"


async def test_folder_recipe_opens_as_text_and_form() -> None:
    """It is planned as well."""
    async with recipe_screen() as seen:
        await seen.until_planned()
        assert seen.editor.text == RECIPE
        assert seen.title == "train.yml"
        assert seen.field("adapter.rank") == "16"
        assert seen.field("training.learning_rate") == "1e-3"
        assert seen.field("training.epochs") == ""
        assert "✔ fits" in seen.planned
        assert "54 steps" in seen.planned
        assert "activations" in seen.planned
        assert "peft on cpu" in seen.planned


async def test_keys_are_commands_outside_text_and_form() -> None:
    """Escape leaves both."""
    async with recipe_screen() as seen:
        assert seen.app.focused is None
        await seen.pilot.press("e", "1", "escape")
        assert seen.editor.text == "1" + RECIPE
        assert seen.app.focused is None
        seen.at("adapter.type")
        await seen.pilot.press(*"t5q")  # not choices: and no training, no other screen, no end
        await seen.pilot.pause()
        assert seen.app.screen is seen.screen
        assert not seen.app.trained
        await seen.pilot.press("escape")
        assert seen.app.focused is None


async def test_form_value_changes_only_its_line() -> None:
    """Comments stay."""
    async with recipe_screen() as seen:
        await seen.until_planned()
        await seen.enter("adapter.rank", "8")
        await seen.until(lambda: "rank: 8 " in seen.editor.text, "the text says 8")
        assert seen.editor.text == RECIPE.replace("rank: 16          #", "rank: 8           #")
        assert seen.title == "train.yml · changed"
        await seen.enter("training.learning_rate", "2e-4")
        await seen.until(lambda: "learning_rate: 2e-4\n" in seen.editor.text, "as it was typed")
        assert seen.field("training.learning_rate") == "2e-4"
        await seen.enter("training.epochs", "5")
        await seen.until(lambda: seen.editor.text.endswith("  epochs: 5\n"), "a new line")
        await seen.until(lambda: "90 steps" in seen.planned, "the plan follows")


async def test_emptied_field_removes_its_key() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        await seen.enter("adapter.alpha", "")
        await seen.pilot.pause()
        assert seen.editor.text == RECIPE
        await seen.pilot.press("down")
        await seen.until(lambda: seen.editor.text == RECIPE.replace("  alpha: 32\n", ""), "the line is gone")


async def test_arrow_keys_turn_a_form_choice() -> None:
    """The default is among the choices."""
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.at("training.scheduler")
        await seen.pilot.press("left")
        await seen.until(lambda: "scheduler: linear" in seen.editor.text, "the choice before cosine")
        await seen.pilot.press("delete")
        await seen.until(lambda: seen.editor.text == RECIPE, "the default holds")
        seen.at("model.double_quant")
        await seen.pilot.press("right")
        await seen.until(lambda: "double_quant: false" in seen.editor.text, "a switch, not text")
        seen.at("model.quantization")
        await seen.pilot.press("4")
        await seen.until(lambda: "quantization: 4bit" in seen.editor.text, "by its first letter")


async def test_undo_reverts_text_and_form() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        await seen.enter("adapter.rank", "9")
        await seen.until(lambda: "rank: 9" in seen.editor.text, "the text says 9")
        while seen.editor.text != RECIPE:
            seen.screen.action_undo()
            await seen.pilot.pause()
        await seen.until(lambda: seen.field("adapter.rank") == "16", "the form says 16 again")
        seen.screen.action_redo()
        await seen.until(lambda: seen.editor.text != RECIPE, "done again")


async def test_the_form_follows_the_text() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(RECIPE.replace("rank: 16", "rank: 64") + "  scheduler: linear\n")
        await seen.until(lambda: seen.field("adapter.rank") == "64", "the number")
        assert seen.field("training.scheduler") == "linear"


async def test_form_leaves_invalid_yaml_alone() -> None:
    broken = RECIPE.replace("name: orders", "name: [orders")
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(broken)
        await seen.until_wrong(1)
        assert seen.field("adapter.rank") == "16"
        await seen.enter("adapter.rank", "8")
        await seen.until(
            lambda: "not closed" in str(seen.screen.query_one("#field-help").render()), "says why"
        )
        assert seen.editor.text == broken


async def test_multiline_value_is_changed_only_in_text() -> None:
    """The form shows it in one line."""
    text = RECIPE.replace("train: starter", "train: |\n    rows\n    more")
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(text)
        await seen.until_wrong(1)
        seen.at("data.train")
        await seen.pilot.press("x", "backspace")
        await seen.pilot.pause()
        lines = [seen.form.render_line(y).text for y in range(seen.form.size.height)]
        assert any("rows⏎more" in line for line in lines)
        assert seen.editor.text == text


async def test_the_fields_help_is_its_documentation() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.at("adapter.rank")
        await seen.pilot.pause()
        said = str(seen.screen.query_one("#field-help").render())
        assert "Rank of the update" in said
        assert "a whole number from 1 to 1024" in said
        assert "default 16" in said
        await seen.pilot.press("down")
        await seen.pilot.pause()
        assert "adapter.alpha" in str(seen.screen.query_one("#field-help").render())


async def test_too_large_recipe_says_what_would_fit() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.app.planner.machine = replace(MACHINE, available_bytes=2_900_000_000)
        seen.editor.change_to(RECIPE + "  batch_size: 16\n  gradient_checkpointing: false\n")
        await seen.until(lambda: "✖ does not fit" in seen.planned, "does not fit")
        assert "→ " in seen.planned
        await seen.pilot.press("f5")
        await seen.until(lambda: seen.app.problems, "it is not started")
        assert "does not fit" in seen.app.problems[-1].message
        assert not seen.app.trained


async def test_overtaken_plan_is_cancelled_and_never_shown() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        gate = seen.app.planner.held = threading.Event()
        seen.editor.change_to(RECIPE + "  epochs: 1\n")
        await seen.until(lambda: seen.app.planner.plans[-1].endswith("epochs: 1\n"), "the first is planned")
        seen.editor.change_to(RECIPE + "  epochs: 9\n")
        await seen.until(lambda: seen.app.planner.cancelled == 1, "the first is cancelled")
        gate.set()
        await seen.until(lambda: "162 steps" in seen.planned, "the second is shown")


async def test_unplannable_recipe_says_why() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(RECIPE + "  precision: fp16\n")
        await seen.until(lambda: "cannot be planned" in seen.note, "the error is shown")
        assert "fp16" in seen.note


async def test_start_trains_the_text_as_it_stands(recipe: Path) -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        text = RECIPE.replace("16", "4")
        seen.editor.change_to(text)
        await seen.pilot.press("f5")
        await seen.until(lambda: seen.app.trained, "it is started")
        assert seen.app.trained == [(text, recipe)]
        assert recipe.read_text() == RECIPE


async def test_a_recipe_with_problems_is_not_started() -> None:
    async with recipe_screen() as seen:
        await seen.until_planned()
        seen.editor.change_to(RECIPE.replace("alpha", "alpa"))
        await seen.pilot.press("f5")
        await seen.until(lambda: seen.app.problems, "it is refused")
        assert "1 problem" in seen.app.problems[-1].message
        assert seen.editor.cursor_location == (12, 2)
        assert not seen.app.trained


async def test_small_terminal_folds_panes_into_tabs() -> None:
    async with recipe_screen((80, 24)) as seen:
        await seen.until_planned()

        def visible() -> list[str]:
            names = {"text": "#text-pane", "form": "Form", "plan": "PlanView"}
            return [name for name, query in names.items() if seen.screen.query_one(query).display]

        for expected in ("text", "form", "plan", "text"):
            assert visible() == [expected]
            await seen.pilot.press("f3")
            await seen.pilot.pause()
        await seen.pilot.resize_terminal(120, 36)
        await seen.pilot.pause()
        assert visible() == ["text", "form", "plan"]


async def test_form_has_the_section_of_the_chosen_method() -> None:
    """And goes on where it was when the method is changed."""
    async with recipe_screen() as seen:
        await seen.until_planned()
        assert "sft.loss" in {one.name for one in seen.form.fields}
        seen.at("training.method")
        await seen.pilot.press("right")
        await seen.until(lambda: "method: dpo" in seen.editor.text, "the next method")
        await seen.until(lambda: "dpo.beta" in {one.name for one in seen.form.fields}, "its section")
        assert "sft.loss" not in {one.name for one in seen.form.fields}
        assert seen.form.here.name == "training.method"
        await seen.enter("dpo.beta", "0.3")
        await seen.until(lambda: "beta: 0.3" in seen.editor.text, "a key of its own")


async def test_current_field_is_in_sight_however_long_its_help() -> None:
    async with recipe_screen((80, 24)) as seen:
        await seen.until_planned()
        await seen.pilot.press("f3")
        seen.at("training.epochs")
        for _ in range(30):
            await seen.pilot.press("down")
            await seen.pilot.pause()
            line = seen.form.lines.index(seen.form.here)
            top = seen.form.scroll_offset.y
            assert top <= line < top + seen.form.scrollable_content_region.height, seen.form.here.name
