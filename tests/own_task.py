"""A task of lm-evaluation-harness in a YAML file of one's own, over rows in a file: nothing is fetched."""

import json
from pathlib import Path

TASK = """task: animals
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
WRITTEN = """task: animals_written
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 5, do_sample: false}
metric_list: [{metric: exact_match}]
"""
DOCS = [{"question": f"Say {n}:", "choices": [" fox", " bird", " tea"], "answer": n % 3} for n in range(6)]


def own_task(folder: Path, task: str = TASK) -> Path:
    """The task's file; its rows lie beside it."""
    data = folder / "animals.json"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    file = folder / "animals.yaml"
    file.write_text(task.replace("DATA", str(data)))
    return file
