"""Finding, sizing and loading a checkpoint folder; each thing that can be wrong with one has its message."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from vglamm_jax.convert import engine, source, tables
from vglamm_jax.convert.kinds import open_checkpoint
from vglamm_jax.convert.torch_io import CheckpointError, open_tensors

pytest.importorskip("torch", reason="the golden folder is pickled, which needs PyTorch to read")


@pytest.fixture
def folder(golden, tmp_path):
    """The golden folder by links, to be changed at will."""
    for path in golden.iterdir():
        if path.suffix != ".npz" and path.is_file():
            (tmp_path / path.name).symlink_to(path)
    for name in ("checkpoint", "clip"):
        (tmp_path / name).mkdir()
        for path in (golden / name).iterdir():
            (tmp_path / name / path.name).symlink_to(path)
    return tmp_path


def rewrite(path, **changes):
    """Replaces a linked JSON file by a changed copy; None removes a key."""
    values = json.loads(path.read_text()) | changes
    path.unlink()
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def unlink(path):
    """Removes a link only: the golden file it leads to stays."""
    assert path.is_symlink()
    path.unlink()


def test_golden_sizes(golden):
    cfg = source.read_config(source.find(golden))
    case = json.loads((golden / "case.json").read_text())
    assert (cfg.llm.width, cfg.llm.depth, cfg.llm.vocab) == (64, 2, 32012) and cfg.llm.fused
    assert cfg.llm.window == case["phi3"]["sliding_window"] + 1
    assert cfg.internvideo2.heads == case["internvideo2"]["num_heads"] and cfg.internvideo2.mlp_width == 768
    assert (cfg.clip.width, cfg.clip.image_size, cfg.clip.blocks_run) == (32, 336, 3)
    assert cfg.sam2.hiera.windows == (8, 4, 16, 8) and cfg.sam2.hiera.stages == (1, 2, 3, 1)
    assert not cfg.sam2.no_object_memory and not cfg.sam2.pointer_time
    assert cfg.seg_token_id == case["seg_token_id"] and cfg.stop_ids == (32000,) and cfg.video_tokens == 3328


def test_golden_round_trip_is_bit_exact(golden):
    model, cfg, _ = source.load(golden, dtype="bfloat16")
    opened = source.Opened(source.find(golden))
    carried = {name: tensor.read() for name, tensor in source.extras(opened, cfg)}
    assert set(carried) == set(tables.videoglamm_extras(cfg))
    back = dict(engine.to_torch(model, tables.videoglamm(cfg), carried))
    files = dict(opened.home)
    files |= {tables.CLIP_PREFIX + name: tensor for name, tensor in opened.clip.items()}
    files |= {tables.INTERNVIDEO2_PREFIX + name: tensor for name, tensor in opened.internvideo2.items()}
    assert set(back) == set(files)
    for name, value in back.items():
        assert value.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(value, files[name].read(), err_msg=name)


def test_towers_come_from_their_own_files(folder):
    """In a round-tripped release the folder's InternVideo2 lost its layer scale: it must not be read."""
    torch = pytest.importorskip("torch")
    path = folder / "checkpoint" / "pytorch_model.bin"
    weights = torch.load(path, weights_only=True)
    weights = {k: torch.zeros_like(v) if "vision_tower" in k else v for k, v in weights.items() if ".ls1." not in k}
    unlink(path)
    torch.save(weights, path)
    model, cfg, home = source.load(folder)
    gamma = open_tensors(folder / "internvideo2.pt")["vision_encoder.blocks.1.ls1.gamma"].read()
    np.testing.assert_array_equal(model.internvideo2.blocks.ls1[...][1], gamma.astype(np.float32))
    assert home == folder / "checkpoint" and model.clip.blocks.mlp.fc1.kernel.shape[0] == cfg.clip.blocks_run


def test_the_release_folder_itself_with_towers_around_it(folder):
    home = folder / "checkpoint"
    assert source.find(home).clip == folder / "clip"
    rewrite(home / "config.json", image_mm_vision_tower="openai/clip-tiny", mm_vision_tower="iv/InternVideo2-tiny.pt")
    (folder / "openai").mkdir()
    (folder / "clip").rename(folder / "openai" / "clip-tiny")
    (folder / "internvideo2.pt").rename(home / "InternVideo2-tiny.pt")
    found = source.find(home)
    assert found.clip == folder / "openai" / "clip-tiny" and found.internvideo2 == home / "InternVideo2-tiny.pt"
    other = source.find(home, clip=folder / "openai", internvideo2=folder / "sam2.pt")
    assert (other.clip, other.internvideo2) == (folder / "openai", folder / "sam2.pt")


def test_sam2_from_its_own_file(folder):
    torch = pytest.importorskip("torch")
    path = folder / "checkpoint" / "pytorch_model.bin"
    weights = {k: v for k, v in torch.load(path, weights_only=True).items() if "visual_model" not in k}
    unlink(path)
    torch.save(weights, path)
    model, cfg, _ = source.load(folder, sam2=folder / "sam2.pt")
    assert model.sam2.memory_encoder.fuser.layers.gamma.shape == (cfg.sam2.memory_fuser_depth, 256)
    unlink(folder / "sam2.pt")
    with pytest.raises(FileNotFoundError, match=r"holds no SAM2 .*no sam2\.pt beside it"):
        source.load(folder)


def test_sam2_beside_a_folder_that_holds_it_is_refused_when_it_is_named(folder):
    with pytest.raises(CheckpointError, match=r"sam2\.pt: .*checkpoint holds a SAM2 of its own"):
        source.load(folder, sam2=folder / "sam2.pt")
    with pytest.raises(CheckpointError, match=r"sam2\.pt: .*checkpoint holds a SAM2 of its own"):
        open_checkpoint([folder, folder / "sam2.pt"])


def test_stop_ids_come_from_the_generation_config_first(folder):
    (folder / "checkpoint" / "generation_config.json").write_text('{"eos_token_id": [32000, 32001, 32007]}')
    assert source.read_config(source.find(folder)).stop_ids == (32000, 32001, 32007)


def test_one_encoder_needs_one_tower(folder):
    cfg = source.read_config(source.find(folder))
    cfg.encoders = "image"
    unlink(folder / "internvideo2.pt")
    model, _, _ = source.load(folder, config=cfg)
    assert model.internvideo2 is None and model.mm_projector is None and model.clip is not None


def test_positions_are_interpolated_for_other_frames(folder):
    cfg = source.read_config(source.find(folder))
    cfg.internvideo2.frames = 8
    model, _, _ = source.load(folder, config=cfg)
    table = open_tensors(folder / "internvideo2.pt")["vision_encoder.pos_embed"].read().astype(np.float32)
    assert model.internvideo2.pos_embed.shape == (1, 8 * 256 + 1, 176)
    ours = np.asarray(model.internvideo2.pos_embed[...])
    np.testing.assert_array_equal(ours[:, :257], table[:, :257])  # half-pixel centres: the first frame stays
    np.testing.assert_allclose(ours[:, 257:513], 0.75 * table[:, 1:257] + 0.25 * table[:, 257:513], atol=1e-6)


def test_unpublished_sizes_need_a_word(folder):
    unlink(folder / "case.json")
    with pytest.raises(CheckpointError, match=r"internvideo2\.pt: its number of heads is not known .*num_heads"):
        source.read_config(source.find(folder))
    (folder / "internvideo2.json").write_text('{"num_heads": 8}')
    assert source.read_config(source.find(folder)).internvideo2.heads == 8
    unlink(folder / "sam2.yaml")
    with pytest.raises(CheckpointError, match=r"no published size; put its sam2\.yaml beside"):
        source.read_config(source.find(folder))


def test_a_yaml_of_another_model_is_refused(folder):
    text = (folder / "sam2.yaml").read_text().replace("embed_dim: 16", "embed_dim: 144")
    unlink(folder / "sam2.yaml")
    (folder / "sam2.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=r"says embed_dim is 144, but .* has 16"):
        source.read_config(source.find(folder))
    (folder / "sam2.yaml").write_text("image_encoder: [")
    with pytest.raises(CheckpointError, match=r"sam2\.yaml: not a SAM2 configuration"):
        source.read_config(source.find(folder))


def test_what_is_missing_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"no config\.json here or in checkpoint/"):
        source.find(folder / "clip" / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere: no such file"):
        source.find(folder, clip=folder / "nowhere")
    unlink(folder / "internvideo2.pt")
    with pytest.raises(FileNotFoundError, match=r"InternVideo2 not found.*pass --internvideo2 FILE"):
        source.find(folder)
    shutil.rmtree(folder / "clip")
    with pytest.raises(FileNotFoundError, match=r"CLIP not found.*pass --clip FOLDER"):
        source.find(folder)


def test_config_without_a_key_names_it(folder):
    rewrite(folder / "checkpoint" / "config.json", seg_token_idx=None)
    with pytest.raises(CheckpointError, match="lacks `seg_token_idx`"):
        source.read_config(source.find(folder))
    (folder / "checkpoint" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not readable as JSON"):
        source.find(folder)


def test_swapped_files_are_noticed(folder):
    with pytest.raises(CheckpointError, match=r"holds no vision_encoder\.cls_token, so it is another kind of file"):
        source.load(folder, internvideo2=folder / "sam2.pt")
    save_file({"a": np.zeros(2, np.float32)}, folder / "clip" / "model.safetensors.new")
    (folder / "clip" / "model.safetensors.new").replace(folder / "clip" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"clip: does not fit this model:\s+missing \(53\).*and 41 more\s+unexp"):
        source.load(folder)
