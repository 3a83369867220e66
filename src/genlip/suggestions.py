"""Suggestions: names of settings, commands and GPUs in other projects -> names in this project.

In: an unknown word, and the known words. Out: the known word that is probably meant. One table serves all kinds of words;
only meanings that are known in the given context are suggested.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["EVERYDAY", "check_keywords", "did_you_mean", "nearest"]

# Our name -> names elsewhere, in lower case without -, _ and spaces: settings of recipes, options, commands, values, GPUs.
_OURS = {
    "optimizer.learning_rate": "lr maxlr peaklr baselr learningrate",
    "--learning-rates": "lr lrs learningrate",
    "optimizer.final_learning_rate": "minlr endlr finallr lrmin etamin",
    "optimizer.warmup_ratio": "warmup warmupsteps warmupratio warmupiters warmupepochs numwarmupsteps lrwarmup",
    "optimizer.weight_decay": "wd l2 decay",
    "optimizer.max_grad_norm": "clip gradclip clipgrad clipgradnorm maxgradnorm gradientclip gradientclipval gradclipnorm "
    "maxnorm clipnorm",
    "optimizer.kind": "optim opt optimizertype optimizername",
    "optimizer.beta1": "adambeta1 betas",
    "optimizer.beta2": "adambeta2 momentum",
    "optimizer.eps": "epsilon adamepsilon",
    "packing.batch": "batchsize batch bs bsz globalbatchsize trainbatchsize perdevicetrainbatchsize microbatchsize "
    "gradientaccumulationsteps accumulategradbatches gradaccum accumsteps accumfreq",
    "--batch-size": "batch batchsize bs bsz",
    "--limit": "images numimages nimages maximages samples numsamples maxsamples",
    "--license": "licence",
    "packing.max_tokens": "seqlen seqlength sequencelength maxseqlen maxseqlength maxlength contextlength blocksize",
    "packing.packing_buffer": "lookahead bufferpacking packingbuffersize",
    "packing.shuffle_window": "window shufflebuffer shufflebuffersize shuffle buffersize",
    "data.source": "dataset datasets traindata traindataset datapath datadir dataroot trainfile input",
    "data.held_out": "valdata evaldata validation valdataset evaldataset val testdata validationdata",
    "data.held_out_samples": "numval valsamples evalsamples valsize validationsplit valsplit",
    "data.workers": "numworkers nworkers dataloaderworkers dataloadernumworkers numproc nproc",
    "--workers": "numworkers nworkers numproc nproc jobs",
    "data.fields": "captioncolumn textcolumn captionkey captioncol column columns",
    "--fields": "captioncolumn textcolumn captionkey captioncol column columns",
    "captions.prompt": "instruction prefix",
    "captions.max_tokens": "maxcaptionlength maxtextlength textlength",
    "--max-tokens": "maxnewtokens maxlength maxlen numtokens",
    "images.size": "imgsize imagesize resolution inputsize res crop",
    "--size": "imgsize imagesize resolution inputsize res",
    "images.max_patches": "maxnumpatches numpatches maxseqlenimage maxpatchtokens",
    "model.hidden_size": "width dim dmodel hiddendim embeddim nembd hidden",
    "model.num_hidden_layers": "depth numlayers nlayer nlayers layers",
    "model.num_attention_heads": "numheads nhead nheads heads",
    "model.intermediate_size": "mlpdim ffndim dff ffn mlpratio",
    "model.vocab_size": "vocab vocabulary nvocab",
    "model.drop_path_rate": "droppath dropout stochasticdepth",
    "init_from": "startfrom pretrained initfrom checkpoint ckpt weights finetune finetunefrom loadfrom "
    "resumefrom pretrainedmodel",
    "--resume": "resumefromcheckpoint autoresume",
    "steps": "maxsteps numsteps trainsteps totalsteps maxiters iters iterations numtrainsteps maxiterations",
    "epochs": "numepochs maxepochs epoch numtrainepochs nepochs",
    "precision": "bf16 fp16 fp32 amp halfprecision mixedprecision dtype torchdtype autocast half",
    "--dtype": "bf16 fp16 fp32 precision torchdtype amp half",
    "bfloat16": "bf16 fp16 float16 half 16 16mixed bf16mixed amp",
    "float16": "fp16 half",
    "float32": "fp32 32 full single",
    "attention": "flashattention attnimplementation attn useflash",
    "parallel": "fsdp ddp strategy distributed deepspeed zero dataparallel",
    "activation_checkpointing": "recompute gradientcheckpointing gradcheckpointing activationcheckpointing checkpointing",
    "compile": "torchcompile",
    "ema": "emadecay emarate useema",
    "seed": "randomseed manualseed rngseed",
    "log_every": "loggingsteps loginterval logeverynsteps logfreq printfreq logsteps",
    "evaluate_every": "evalevery evalsteps evalinterval valcheckinterval valevery evalfreq valinterval",
    "save_every": "savesteps saveinterval savefreq checkpointevery ckptevery checkpointinterval",
    "keep_last": "keep savetotallimit savetopk keeplast keepn",
    "trackers": "wandb tensorboard trackio reportto logger wandbproject",
    "out": "output outputdir outdir savedir logdir savepath rundir workdir",
    "--out": "output outputdir outdir outputfile o save",
    "--device": "gpu cuda cpu gpus",
    "--gpus": "numgpus ngpus devices nprocpernode worldsize",
    "--gpu": "device accelerator hardware",
    "data inspect": "inspect stats check look describedata info",
    "data pack": "pack shard shards webdataset",
    "data synth": "synth synthetic synthesize generatedata",
    "eval captioning": "captioning",
    "eval zero-shot": "zeroshot classify",
    "eval probe": "probe linearprobe linprobe",
    "eval segmentation": "segmentation segment",
    "eval attention": "attention attn",
    "eval features": "pca",
    "eval": "evaluate test validate benchmark measure",
    "caption": "describe infer inference predict generate run demo say",
    "ask": "chat vqa question talk query llava",
    "encode": "embed embeddings features extract vectorize",
    "train": "fit finetune pretrain learn",
    "export": "convert save onnx",
    "push": "upload publish",
    "compare": "diff",
    "report": "page html plot show",
    "plan": "estimate cost budget",
    "rtx4090": "4090 geforcertx4090 nvidiartx4090 nvidiageforcertx4090",
    "a100": "a10080gb a10040gb nvidiaa100 a100sxm a100pcie a100sxm480gb",
    "h100": "nvidiah100 h10080gb h100sxm h100pcie h100nvl h100sxm5 h10080gbhbm3 hopper",
    "h200": "nvidiah200 h200sxm",
    "b200": "nvidiab200 blackwell",
    "l40s": "nvidial40s",
}

EVERYDAY: dict[str, list[str]] = {}
for _ours, _theirs in _OURS.items():
    for _name in _theirs.split():
        EVERYDAY.setdefault(_name, []).append(_ours)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that a word probably means: by its last part, by its everyday name, or by similar letters."""
    known = list(known)
    same = [name for name in known if _bare(name) == _bare(word)]
    inner = [name for name in known if name.rpartition(".")[2] == word.replace("-", "_").rpartition(".")[2]]
    everyday = [name for name in EVERYDAY.get(_bare(word.rpartition(".")[2]), []) if name in known]
    alike = difflib.get_close_matches(word, known, n=1)
    return next(iter([*same, *inner, *everyday, *alike]), None)


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """The text `; did you mean …?` with `before` in front of the name, or an empty text."""
    name = nearest(word, known)
    return "" if name is None else f"; did you mean {before}{name}?"


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for a keyword argument that a function does not have, with the one that is probably meant."""
    known = list(known)
    for word in given:
        if word not in known:
            hint = did_you_mean(word, known) or f"; the keywords are {', '.join(known)}"
            raise TypeError(f"{function} has no keyword {word!r}{hint}")


def _bare(word: str) -> str:
    return re.sub(r"[-_\s]", "", word.lower())
