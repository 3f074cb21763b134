"""What the original mixes when told nothing else: 17 kinds of data, equally often (facts 5.8).

Data sets of one kind share its weight. Rates are read from `sample_rates_for_datasets` there; here they are weights.
"""

from vglamm_jax.data.shares import Share


def get_config() -> tuple[Share, ...]:
    return (
        # Images.
        Share(names=("ade20k", "cocostuff", "pascal_part", "paco_lvis", "mapillary")),  # sem_seg
        Share(names=("refclef", "refcoco", "refcoco+", "refcocog")),  # refer_seg
        Share(names=("llava_instruct",)),  # vqa
        Share(names=("reason_seg",)),
        Share(names=("grandf", "openpsg_gcg", "flickr_gcg", "refcocog_gcg"), by_length=True),
        # Videos.
        Share(names=("refer_youtube_vos", "refer_davis")),  # refer_vos
        Share(names=("video_instruct",)),  # video_vqa
        Share(names=("mevis",)),
        Share(names=("charades_sta", "activitynet_captions", "qv_highlights")),  # temporal
        Share(names=("vidstg",)),
        Share(names=("video_gcg",)),
        Share(names=("grounded_video_qa",)),  # gvqa
        Share(names=("anet_gcg",)),
        Share(names=("ytvos_gcg",)),
        Share(names=("mevis_gcg",)),
        Share(names=("vidstg_gcg",)),
        Share(names=("hcstvg_gcg",)),
    )
