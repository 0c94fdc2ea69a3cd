"""A broker of the future, as far as a client can tell: passes calls on to the real one, and adds fields that no client knows
to every message that comes back, and messages of kinds that none knows to the stream of a group's member. What a client
sends back of these fields, it understands.
"""

from concurrent import futures

import grpc
from google.protobuf import message_factory
from taffrail.v1 import entities_pb2, groups_pb2, log_pb2, topics_pb2

SERVICES = (topics_pb2, log_pb2, entities_pb2, groups_pb2)
# Field 1,000 is a number, 1,001 is bytes: 2^60 and "from a later version".
UNKNOWN = bytes.fromhex("c03e808080808080808010ca3e14") + b"from a later version"


class Newer:
    """Listens on a port of its own, in front of the broker at `target`."""

    def __init__(self, target):
        self.channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)])
        self.server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", -1)])
        for file in SERVICES:
            for service in file.DESCRIPTOR.services_by_name.values():
                self.server.add_generic_rpc_handlers((self.handler(service),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def close(self):
        self.server.stop(None)
        self.channel.close()

    def handler(self, service):
        handlers = {method.name: self.passing(service, method) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def passing(self, service, method):
        """Every kind of call is passed on as a stream of requests with a stream of responses."""
        path = f"/{service.full_name}/{method.name}"
        asked = message_factory.GetMessageClass(method.input_type)
        kind = message_factory.GetMessageClass(method.output_type)

        def pass_on(requests, context):
            known = (without_unknown(asked, request) for request in requests)
            call = self.channel.stream_stream(path)(known, metadata=told(context))
            context.add_callback(call.cancel)
            try:
                for response in call:
                    yield extended(kind, response)
                    if method.name == "Consume":
                        yield UNKNOWN
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.CANCELLED:
                    context.set_trailing_metadata(error.trailing_metadata() or ())
                context.abort(error.code(), error.details() or "")

        return grpc.stream_stream_rpc_method_handler(pass_on)


def told(context):
    """What the client sent along, without what gRPC adds by itself."""
    return [(key, value) for key, value in context.invocation_metadata() if key == "authorization"]


def without_unknown(kind, request):
    message = kind.FromString(request)
    message.DiscardUnknownFields()
    return message.SerializeToString()


def extended(kind, response):
    message = kind.FromString(response)
    extend(message)
    return message.SerializeToString()


def extend(message):
    """Adds the unknown fields to a message and to all messages in it."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            extend(each)
    message.MergeFromString(UNKNOWN)
