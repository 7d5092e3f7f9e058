"""What a parameter is for, by its name, its annotation and how the code uses it.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import inspect
import re

_TARGET = re.compile(
    r"^(\w*_?true|true_\w+|\w*labels?|\w*targets?|y|y_?t|ys|(\w+_)?gt(_\w+)?|(\w+_)?truth|real\w*|ref\w*|answers?|actual)$",
    re.IGNORECASE,
)
_PREDICTION = re.compile(
    r"^(y_?p\w*|\w*pred\w*|\w*logits?|\w*outputs?|y_?hat|probs?|p|fake\w*|gen\w*|rec\w*|recon\w*|decoded|hypothesis)$",
    re.IGNORECASE,
)
_TENSOR = re.compile(
    r"^(x\w{0,3}|inps?|inputs?|inputs_\w+|input_(layer|tensor|data|image|seq\w*)s?|images?|imgs?|feature_?(map)?s?|tensors?|noise"
    r"|\w*_(input|tensor|embeddings?|states?|images?|features)|embeddings?|quer(y|ies)|keys?|values?|anchor|positive"
    r"|negative|z_\w+|log_?var|logvar|mean|\w*mask|observations?|obs|states?|actions?|rewards?|hr|sr|lr|data_[ab])$",
    re.IGNORECASE,
)

# What a parameter that takes no tensor is for, by its name, first match first.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"train(ing|able)?|is_train\w*", "true"),
    (r"use_\w+|with_\w+|is_\w+|from_\w+|return_\w+|has_\w+|include_\w+|debug|verbose|reuse", "false"),
    (r"\w*optimi[sz]er\w*|opt|\w+_opt|optim\w*", "optimizer"),
    (r"\w*(loss|criterion|loss_?(fn|func|function|object)|loss_obj|cost_fn|cce|bce|mse)", "loss"),
    (r"\w*metrics?|accuracy|train_acc\w*", "metric"),
    (r"(\w*_)?(model|network|net|encoder|decoder|generator|discriminator|critic|actor|policy|backbone|teacher|student"
     r"|classifier|gan|vae|autoencoder|gen|disc|agent)(_\w+)?|[gdfq]_?(net\w*|model)", "model"),
    (r"(data_?set|\w*_ds|loader|train_data|generator_data)", "dataset"),
    (r"\w*act(ivation)?(_fn|_func|fun)?|nonlinearity|\w*_activation", "activation"),
    (r"padding|pad", "padding"),
    (r"\w*norm(_type|_name|alization)?", "normalization"),
    (r"data_format", "data_format"),
    (r"dtype", "dtype"),
    (r"reduction", "reduction"),
    (r"\w*name|prefix|scope|suffix", "name"),
    (r"\w*init(ializer)?", "initializer"),
    (r"\w*(eps|epsilon|smooth\w*|tol)", "epsilon"),
    (r"\w*(filters?|kernel)_shape", "kernel_shape"),
    (r"\w*(image|img|input|in|output|target|obs|state|data|x)_?(shape|size|dims?)|shape|dim_in|input_dims", "shape"),
    (r"\w*(sizes|hidden_units|layer_units|units_list|dims_list)", "widths"),
    (r"\w*(vocab\w*|num_words|n_words|num_embeddings|max_features|\w*vocab_size)", "vocabulary"),
    (r"\w*(class|label|categor|tag|action|mixture|gaussian|component|cluster|n_?mix)\w*", "classes"),
    (r"\w*(batch)(_size)?|bs", "batch"),
    (r"\w*(max_?len\w*|seq_?len\w*|length|max_?pos\w*|maximum_position\w*|timesteps?|steps|window\w*|time|num_patches)",
     "length"),
    (r"\w*(heads?|groups?|capsules?|experts?)", "two"),
    (r"\w*(layers?|blocks?|depth|stages?|repeats?|levels?|stacks?|rep\w*|iter\w*|routings?|epochs?|n_flow\w*|hops?)",
     "two"),
    (r"\w*(kernel|ksize|kernel_size|filter_size|pool|pool_size|k)", "three"),
    (r"\w*(strides?|dilation\w*|rate_dilation|axis|order|patience)", "one"),
    (r"\w*(patch)\w*", "four"),
    (r"\w*(drop\w*|rate|prob\w*|keep\w*|momentum|lr|learning_rate|survival\w*)", "tenth"),
    (r"gamma|temperature|tau|margin|m|s|scale|sigma|t|power|width_mult\w*|std\w*|delta", "unit"),
    (r"alpha|beta\d*|lambda\w*|lamb\w*|coeff?\w*|\w*weight|w|ratio|threshold|\w*_factor|mu|quantile|q|c|theta|clip\w*",
     "half"),
    (r"\w*weights", "weights"),
    (r"\w*(units|filters?|channels?|dims?|dimensions?|d_model|hidden\w*|width|features?|latent\w*|embed\w*|dff|ff\w*"
     r"|filter_num\w*|fmaps|size|n_?out\w*"
     r"|nodes|neurons|planes|outputs?|chs?|nf|nb_\w+|num_\w+|n_\w+|depth_\w+|n|k|key_dim|d)", "width"),
)  # fmt: skip
_COMPILED = [(re.compile(f"^({pattern})$", re.IGNORECASE), meaning) for pattern, meaning in _NAMES]


def role(parameter: inspect.Parameter, builds: bool = False, source: str = "") -> str:
    """What a parameter is for: target, prediction, tensor, skip, a word of `_NAMES`, or `=` and the word it may be.

    `builds`: the call makes a layer, a model or a function, so what is not known is a number.
    """
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return "skip"
    optional = parameter.default is not parameter.empty
    hint = "" if parameter.annotation is parameter.empty else str(parameter.annotation)
    name = parameter.name.strip("_")
    if optional:
        return "skip"
    if not builds:
        if _TARGET.match(name):
            return "target"
        if _PREDICTION.match(name):
            return "prediction"
        if "Tensor" in hint or _TENSOR.match(name):
            return "tensor"
    compared = re.findall(rf"\b{parameter.name} ?(?:==|(?:not )?in [\[({{]) ?['\"]([^'\"]+)['\"]", source)
    if compared:
        return f"={compared[-1]}"  # the first is often `none"
    if re.search(rf"(?<![\w.]){parameter.name}\(", source):
        return "model"  # it is called
    meaning = next((word for pattern, word in _COMPILED if pattern.match(name)), "")
    if meaning in ("", "width", "half", "unit", "tenth", "two", "three", "one") and hint:
        for kind, guess in (("bool", "false"), ("float", "half"), ("str", "activation"), ("Callable", "loss")):
            if re.search(rf"\b{kind}\b", hint) and not (kind == "str" and "int" in hint):
                return meaning if kind == "float" and meaning in ("unit", "tenth", "half") else guess
        if re.search(r"\bint\b", hint):
            meaning = meaning if meaning in ("two", "three", "one") else "width"
            return f"{meaning}s" if re.search(r"[Tt]uple|[Ll]ist|Sequence|Iterable", hint) else meaning
    if "Model" in hint:
        return "model"
    if not builds and meaning in ("", "unit", "half", "weights", "width", "three") and len(name) < 3:
        return "tensor"  # x, a, b, z, h, mu
    return meaning or ("width" if builds else "tensor")
