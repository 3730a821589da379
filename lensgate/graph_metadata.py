"""The metadata of an ONNX graph, replaced without the package `onnx`, which a service does not install."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# `ModelProto.metadata_props` of onnx.proto. All other fields are unknown here, and protobuf keeps unknown fields.
_METADATA = 14


def with_metadata(graph: bytes, key: str, value: str) -> bytes:
    """Return the graph with this entry as its only metadata."""
    model = _Model.FromString(graph)
    del model.metadata_props[:]
    model.metadata_props.add(key=key, value=value)
    serialized: bytes = model.SerializeToString()
    return serialized


def _make_model() -> Any:
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="graph_metadata.proto", package="lensgate")
    entry = file.message_type.add(name="Entry")
    for number, name in enumerate(("key", "value"), start=1):
        entry.field.add(name=name, number=number, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    model = file.message_type.add(name="Model")
    model.field.add(
        name="metadata_props",
        number=_METADATA,
        type=kind.TYPE_MESSAGE,
        label=kind.LABEL_REPEATED,
        type_name=".lensgate.Entry",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lensgate.Model"))


_Model = _make_model()
