"""Caffe's first (V0) form of a prototxt, brought to the second (V1), whose layers have one message a kind.

A V0 layer is `layers { layer { name: "conv1" type: "conv" num_output: 96 kernelsize: 11 } bottom: ... top: ... }`: its
parameters stand side by side, and padding is a layer of its own before a convolution or a pooling.
"""
from typing import Any

from cli import BadInput

# V0's type -> V1's, and the message of its parameters where it has one.
KINDS = {
    'accuracy': ('ACCURACY', ''), 'bnll': ('BNLL', ''), 'concat': ('CONCAT', 'concat_param'),
    'conv': ('CONVOLUTION', 'convolution_param'), 'data': ('DATA', 'data_param'),
    'dropout': ('DROPOUT', 'dropout_param'), 'euclidean_loss': ('EUCLIDEAN_LOSS', ''), 'flatten': ('FLATTEN', ''),
    'hdf5_data': ('HDF5_DATA', 'hdf5_data_param'), 'hdf5_output': ('HDF5_OUTPUT', ''), 'im2col': ('IM2COL', ''),
    'images': ('IMAGE_DATA', 'image_data_param'), 'infogain_loss': ('INFOGAIN_LOSS', 'infogain_loss_param'),
    'innerproduct': ('INNER_PRODUCT', 'inner_product_param'), 'lrn': ('LRN', 'lrn_param'),
    'multinomial_logistic_loss': ('MULTINOMIAL_LOGISTIC_LOSS', ''), 'pool': ('POOLING', 'pooling_param'),
    'relu': ('RELU', ''), 'sigmoid': ('SIGMOID', ''), 'softmax': ('SOFTMAX', ''), 'softmax_loss': ('SOFTMAX_LOSS', ''),
    'split': ('SPLIT', ''), 'tanh': ('TANH', ''), 'window_data': ('WINDOW_DATA', 'window_data_param')}
RENAMED = {'biasterm': 'bias_term', 'kernelsize': 'kernel_size', 'batchsize': 'batch_size',
           'shuffle_images': 'shuffle', 'det_fg_threshold': 'fg_threshold', 'det_bg_threshold': 'bg_threshold',
           'det_fg_fraction': 'fg_fraction', 'det_context_pad': 'context_pad', 'det_crop_mode': 'crop_mode'}
OF_TRANSFORM = {'scale': 'scale', 'meanfile': 'mean_file', 'cropsize': 'crop_size', 'mirror': 'mirror'}
OF_LAYER = ('name', 'type', 'blobs', 'blobs_lr', 'weight_decay')


def to_v1(net: Any) -> None:
    """Bring the V0 layers of a net to V1; a net of another form stays as it is.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        As parsed; its `layers` are written in place.

    Raises
    ------
    BadInput
        A layer has a type or a parameter that Caffe's first form did not have; names it.
    """
    if not any(old.HasField('layer') for old in net.layers):
        return
    olds = _with_padding(list(net.layers))
    news = [_layer(old) for old in olds]
    del net.layers[:]
    net.layers.extend(news)


def _with_padding(layers: list[Any]) -> list[Any]:
    """The layers without those that pad; what reads those pads itself."""
    made_by: dict[str, Any] = {}        # blob -> the layer that wrote it last
    result = []
    for old in layers:
        new = type(old).FromString(old.SerializeToString())
        for i, name in enumerate(old.bottom):
            source = made_by.get(name)
            if source is None or source.layer.type != 'padding':
                continue
            if old.layer.type not in ('conv', 'pool') or len(old.bottom) != 1 or len(source.bottom) != 1:
                raise BadInput(f'layer {old.layer.name!r}: padding is of conv and pool layers with one bottom alone')
            new.layer.pad, new.bottom[i] = source.layer.pad, source.bottom[0]
        if old.layer.type != 'padding':
            result.append(new)
        made_by |= dict.fromkeys(old.top, old)
    return result


def _layer(old: Any) -> Any:
    v0 = old.layer
    if v0.type not in KINDS:
        raise BadInput(f'layer {v0.name!r}: no type of Caffe\'s first (V0) form is called {v0.type!r}')
    kind, message = KINDS[v0.type]
    new = type(old)(name=v0.name, bottom=old.bottom, top=old.top)
    new.type = new.LayerType.Value(kind)
    for field, value in v0.ListFields():
        if field.name in OF_LAYER[2:]:
            getattr(new, field.name).extend(value)
        elif field.name in OF_TRANSFORM:
            setattr(new.transform_param, OF_TRANSFORM[field.name], value)
        elif field.name == 'hdf5_output_param':
            new.hdf5_output_param.CopyFrom(value)
        elif field.name not in OF_LAYER:
            _set(new, message, RENAMED.get(field.name, field.name), value)
    return new


def _set(new: Any, message: str, name: str, value: Any) -> None:
    """Set a field of a layer's parameters."""
    target = getattr(new, message) if message else None
    if target is None or name not in target.DESCRIPTOR.fields_by_name:
        raise BadInput(f'layer {new.name!r}: its type has no parameter {name}')
    known = getattr(target, name)
    if hasattr(known, 'append'):
        known.append(value)
    elif hasattr(known, 'CopyFrom'):
        known.CopyFrom(value)
    else:
        setattr(target, name, value)
