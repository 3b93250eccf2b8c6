"""As much of Triton's message ModelConfig as we write, built here, so that protobuf's own parser reads our text."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_MESSAGES = {
    "ModelTensorReshape": [("shape", 1, "int64", True)],
    "ModelTensor": [
        ("name", 1, "string", False),
        ("data_type", 2, "DataType", False),
        ("dims", 3, "int64", True),
        ("reshape", 5, "ModelTensorReshape", False),
    ],
    "InstanceGroup": [("count", 2, "int32", False), ("kind", 4, "Kind", False)],
    "ModelParameter": [("string_value", 1, "string", False)],
    "ParameterEntry": [("key", 1, "string", False), ("value", 2, "ModelParameter", False)],
    "TextEntry": [("key", 1, "string", False), ("value", 2, "string", False)],
    "Step": [
        ("model_name", 1, "string", False),
        ("model_version", 2, "int64", False),
        ("input_map", 3, "TextEntry", True),
        ("output_map", 4, "TextEntry", True),
    ],
    "Ensembling": [("step", 1, "Step", True)],
    "ModelConfig": [
        ("name", 1, "string", False),
        ("platform", 2, "string", False),
        ("max_batch_size", 4, "int32", False),
        ("input", 5, "ModelTensor", True),
        ("output", 6, "ModelTensor", True),
        ("instance_group", 7, "InstanceGroup", True),
        ("parameters", 14, "ParameterEntry", True),
        ("ensemble_scheduling", 15, "Ensembling", False),
        ("backend", 17, "string", False),
    ],
}
_TYPES = ("INVALID", "BOOL", *(f"{sign}INT{bits}" for sign in ("U", "") for bits in (8, 16, 32, 64)))
_ENUMERATIONS = {
    "DataType": [f"TYPE_{name}" for name in (*_TYPES, "FP16", "FP32", "FP64", "STRING", "BF16")],
    "Kind": ["KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"],
}


def _model_config():
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="test", syntax="proto3")
    for name, values in _ENUMERATIONS.items():
        enumeration = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enumeration.value.add(name=value, number=number)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            made = message.field.add(name=field, number=number)
            made.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES or kind in _ENUMERATIONS:
                made.type = kinds.TYPE_MESSAGE if kind in _MESSAGES else kinds.TYPE_ENUM
                made.type_name = f".test.{kind}"
            else:
                made.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.ModelConfig"))


ModelConfig = _model_config()


def read_config(folder):
    """Parse the configuration of a model's folder."""
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="ascii"), ModelConfig())


def type_name(tensor):
    """Return a tensor's data type as it is written."""
    return _ENUMERATIONS["DataType"][tensor.data_type]
