"""Task files of lmms-eval that include its own, with data of this machine."""

import io
import json
from pathlib import Path


def write_local_task(folder, task, file, split, rows):
    """`folder/TASK.yaml` and its data. `file` is of lmms-eval's tasks; `rows` are pairs of an image and other columns."""
    import lmms_eval
    from datasets import Dataset
    from datasets import Image as ImageColumn

    encoded = []
    for image, row in rows:
        out = io.BytesIO()
        image.save(out, "PNG")
        encoded.append(row | {"image": {"bytes": out.getvalue(), "path": None}})
    folder.mkdir(exist_ok=True)
    data = folder / f"{task}.parquet"
    Dataset.from_list(encoded).cast_column("image", ImageColumn()).to_parquet(str(data))
    source = {"dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": {split: str(data)}}}
    include = f"include: {Path(lmms_eval.__file__).parent / 'tasks' / file}"
    lines = [include, f"task: {task}", *(f"{key}: {json.dumps(value)}" for key, value in source.items())]
    (folder / f"{task}.yaml").write_text("\n".join(lines) + "\n")


def offline(patch, folder):
    """For this process and those that it starts: no network, and caches in the folder."""
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}.items():
        patch.setenv(name, value)
