"""Small LeRobot folders, laid out as LeRobot lays them out, with what is in them."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FPS = 10
CAMERAS = ("top", "wrist")
Episode = dict[str, np.ndarray]
V2 = ("data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",)
V2 += ("videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",)
V3 = ("data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",)
V3 += ("videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",)


def lerobot_episodes(lengths: Sequence[int], size: tuple[int, int] = (32, 48)) -> list[Episode]:
    """Random states and actions; pictures of a square that moves 4 pixels a frame, on a ground of another colour."""
    episodes = []
    for number, frames in enumerate(lengths):
        random = np.random.default_rng(number)
        episode: Episode = {"observation.state": random.normal(size=(frames, 6)).astype(np.float32)}
        episode["action"] = random.uniform(-1, 1, (frames, 7)).astype(np.float32)
        episode["next.reward"] = (np.arange(frames) == frames - 1).astype(np.float32)
        episode["next.done"] = episode["next.success"] = np.arange(frames) == frames - 1
        for camera, name in enumerate(CAMERAS):
            pictures = np.full((frames, *size, 3), 40 + 60 * camera + 80 * number, np.uint8)
            for k in range(frames):
                pictures[k, 8:24, 4 * k : 4 * k + 8] = (250, 30 + 190 * camera, 20)
            episode[f"observation.images.{name}"] = pictures
        episodes.append(episode)
    return episodes


def write_video(path: Path, pictures: np.ndarray, drop: int | None = None) -> None:
    """An H.264 file of one frame each 1/FPS s, as LeRobot encodes them; ``drop`` leaves a frame out, with a gap."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"g": "4", "crf": "18"}
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            if number != drop:
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def png(picture: np.ndarray) -> bytes:
    import av

    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1, FPS)
    return bytes(codec.encode(av.VideoFrame.from_ndarray(picture, "rgb24"))[0])


def write_lerobot(
    root: Path,
    version: str = "v2.1",
    lengths: Sequence[int] = (7, 10),
    kind: str = "video",
) -> list[Episode]:
    """A whole folder, with pictures in videos or, ``kind`` "image", in the tables; returns what is in it."""
    import pyarrow as pa
    from pyarrow import parquet

    episodes, images = lerobot_episodes(lengths), [f"observation.images.{c}" for c in CAMERAS]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tables = []
    for number, episode in enumerate(episodes):
        frames = np.arange(lengths[number])
        columns = {k: v.tolist() for k, v in episode.items() if k not in images}
        columns |= {"timestamp": (frames / FPS).astype(np.float32), "frame_index": frames}
        columns |= {"episode_index": np.full(len(frames), number), "index": starts[number] + frames}
        columns |= {"task_index": np.zeros(len(frames), int)}
        if kind == "image":
            columns |= {key: [{"bytes": png(p), "path": None} for p in episode[key]] for key in images}
        tables.append(pa.table(columns))
    old = version < "v3"
    data_path, video_path = V2 if old else V3
    rows: list[dict[str, Any]] = []
    for number in range(len(episodes)):
        row: dict[str, Any] = {"episode_index": number, "tasks": ["lift the cube"], "length": lengths[number]}
        if not old:
            row |= {"data/chunk_index": 0, "data/file_index": 0, "stats/action/max": [1.0]}
            row |= {"dataset_from_index": int(starts[number]), "dataset_to_index": int(starts[number + 1])}
            for key in images if kind == "video" else ():
                row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0}
                row |= {f"videos/{key}/from_timestamp": starts[number] / FPS}
                row |= {f"videos/{key}/to_timestamp": starts[number + 1] / FPS}
        rows.append(row)
    meta = root / "meta"
    (meta if old else meta / "episodes" / "chunk-000").mkdir(parents=True)
    if old:
        (meta / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        pieces = [({"episode_chunk": 0, "episode_index": i}, tables[i], [episodes[i]]) for i in range(len(episodes))]
    else:
        parquet.write_table(pa.Table.from_pylist(rows), meta / "episodes" / "chunk-000" / "file-000.parquet")
        pieces = [({"chunk_index": 0, "file_index": 0}, pa.concat_tables(tables), episodes)]
    for at, table, held in pieces:
        target = root / data_path.format(**at)
        target.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, target)
        for key in images if kind == "video" else ():
            write_video(root / video_path.format(**at, video_key=key), np.concatenate([e[key] for e in held]))
    features: dict[str, Any] = {key: {"dtype": kind, "shape": [32, 48, 3]} for key in images}
    features |= {"observation.state": {"dtype": "float32", "shape": [6]}, "action": {"dtype": "float32", "shape": [7]}}
    features |= {"next.reward": {"dtype": "float32", "shape": [1]}}
    features |= {name: {"dtype": "bool", "shape": [1]} for name in ("next.done", "next.success")}
    document = {"codebase_version": version, "robot_type": "so100", "fps": FPS, "chunks_size": 1000}
    document |= {"data_path": data_path, "video_path": video_path, "features": features}
    (meta / "info.json").write_text(json.dumps(document))
    return episodes
