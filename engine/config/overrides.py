"""`--set training.max_steps=20`: values given on the command line, in the place of the file's."""

from engine.config.problems import Place, Problem, RecipeError
from engine.config.yaml_reader import MAX_DEPTH, Entry, Node, read_yaml


def override(root: Node, option: str, problems: list[Problem]) -> None:
    """Put one `key=value` into the tree; the value is read as YAML. Its place is the option itself."""
    key, equals, text = option.partition("=")
    place = Place(f"--set {key.strip() or option}")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        problems.append(Problem(place, f"{option!r} is not key=value, as in --set training.max_steps=20"))
        return
    if len(steps) > MAX_DEPTH:
        problems.append(Problem(place, f"nested more than {MAX_DEPTH} levels deep"))
        return
    try:
        value = _placed(read_yaml(text, place.origin, problems), place)
    except RecipeError as error:
        problems.extend(Problem(place, problem.message, key) for problem in error.problems)
        return
    here = root
    for depth, step in enumerate(steps[:-1], 1):
        if not isinstance(here.value, dict):
            break
        here = here.value.setdefault(step, Entry(place, Node(place, None))).node
        if here.value is None:
            here.value = {}
        if not isinstance(here.value, dict):
            message = f"{'.'.join(steps[:depth])} is not a mapping in this recipe, so it has no keys"
            problems.append(Problem(place, message, key))
            return
    assert isinstance(here.value, dict)
    here.value[steps[-1]] = Entry(place, value)


def _placed(node: Node, place: Place) -> Node:
    """The node and all in it at one place."""
    node.place = place
    if isinstance(node.value, list):
        node.value = [_placed(item, place) for item in node.value]
    elif isinstance(node.value, dict):
        node.value = {key: Entry(place, _placed(entry.node, place)) for key, entry in node.value.items()}
    return node
