"""Names of layers and blobs as Python takes them."""
import keyword
import re
from collections.abc import Iterable

LONGEST = 60            # characters
# What `torch.nn.Module` has already, and what the page that is written calls its own.
MODULE = frozenset('''
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
    extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
    share_memory state_dict to to_empty train training type xpu zero_grad'''.split())
PAGE = frozenset('''
    self torch nn F json Path Net Pool Scale Bias argmax load read_tensors prepare float super MEAN SCALE MULTIPLE
    CLASSES GREY'''.split())


def python_names(names: Iterable[str]) -> dict[str, str]:
    """An attribute and variable for each name.

    Parameters
    ----------
    names : iterable of str
        Of layers or blobs; anything.

    Returns
    -------
    dict of str to str
        Identifiers, no two of them the same; the name itself where it is one.

    Examples
    --------
    >>> list(python_names(['conv1_1', 'inception_3a/1x1', '3', 'type', 'a-b', 'a.b']).values())
    ['conv1_1', 'inception_3a_1x1', 'x3', 'type_', 'a_b', 'a_b_2']
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        stem = re.sub(r'\W+', '_', name, flags=re.ASCII)[:LONGEST]
        if not stem[:1].isalpha():
            stem = f'x{stem}'
        if keyword.iskeyword(stem) or keyword.issoftkeyword(stem) or stem in MODULE | PAGE:
            stem += '_'
        new, number = stem, 2
        while new in taken:
            new, number = f'{stem}_{number}', number + 1
        taken.add(new)
        found[name] = new
    return found
