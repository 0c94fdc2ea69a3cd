package dev.taffrail;

import com.google.protobuf.Descriptors;
import com.google.protobuf.Message;
import dev.taffrail.TaffrailException.Closed;
import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.v1.*;
import io.grpc.CallOptions;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;

/** What is done by grpc-java: calls with one answer, and streams. */
final class Calls {
  static final MethodDescriptor<CreateTopicRequest, CreateTopicResponse> CREATE_TOPIC = topics("Create");
  static final MethodDescriptor<ListTopicsRequest, ListTopicsResponse> LIST_TOPICS = topics("List");
  static final MethodDescriptor<DescribeTopicRequest, DescribeTopicResponse> DESCRIBE_TOPIC = topics("Describe");
  static final MethodDescriptor<AlterTopicRequest, AlterTopicResponse> ALTER_TOPIC = topics("Alter");
  static final MethodDescriptor<DeleteTopicRequest, DeleteTopicResponse> DELETE_TOPIC = topics("Delete");
  static final MethodDescriptor<TrimRequest, TrimResponse> TRIM = topics("Trim");
  static final MethodDescriptor<AppendRequest, AppendResponse> APPEND = log("Append");
  static final MethodDescriptor<OpenProducerRequest, OpenProducerResponse> OPEN_PRODUCER = log("OpenProducer");
  static final MethodDescriptor<ReadRequest, ReadResponse> READ = log("Read");
  static final MethodDescriptor<ListOffsetsRequest, ListOffsetsResponse> LIST_OFFSETS = log("ListOffsets");
  static final MethodDescriptor<ReadKeyRequest, ReadKeyResponse> READ_KEY = entities("ReadKey");
  static final MethodDescriptor<GetLatestRequest, GetLatestResponse> GET_LATEST = entities("GetLatest");
  static final MethodDescriptor<EraseKeyRequest, EraseKeyResponse> ERASE_KEY = entities("EraseKey");
  static final MethodDescriptor<DescribeErasureRequest, DescribeErasureResponse> DESCRIBE_ERASURE =
      entities("DescribeErasure");
  static final MethodDescriptor<ConsumeRequest, ConsumeResponse> CONSUME = groups("Consume");
  static final MethodDescriptor<FetchOffsetsRequest, FetchOffsetsResponse> FETCH_OFFSETS = groups("FetchOffsets");
  static final MethodDescriptor<ForkGroupRequest, ForkGroupResponse> FORK_GROUP = groups("Fork");
  static final MethodDescriptor<DeleteGroupRequest, DeleteGroupResponse> DELETE_GROUP = groups("Delete");
  static final MethodDescriptor<LimitsRequest, LimitsResponse> LIMITS = broker("Limits");

  final ManagedChannel channel;
  private final Duration timeout;
  private volatile boolean isClosed;

  Calls(ManagedChannel channel, Duration timeout) {
    this.channel = channel;
    this.timeout = timeout;
  }

  void close() {
    isClosed = true;
    channel.shutdownNow();
  }

  /** A call that changes nothing. */
  <Q, R> R ask(MethodDescriptor<Q, R> method, Q request) {
    return unary(method, request, timeout, false);
  }

  /** A call that changes something: its outcome is unknown if its answer is lost. */
  <Q, R> R change(MethodDescriptor<Q, R> method, Q request) {
    return unary(method, request, timeout, true);
  }

  <Q, R> R unary(MethodDescriptor<Q, R> method, Q request, Duration within, boolean isChange) {
    if (isClosed) {
      // It is not sent, so that there is no doubt about what becomes of it.
      throw new Closed(null);
    }
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(within.toNanos(), TimeUnit.NANOSECONDS);
    try {
      return ClientCalls.blockingUnaryCall(channel, method, options, request);
    } catch (RuntimeException error) {
      throw failure(error, isChange);
    }
  }

  /** The responses of a call. It ends with the context. */
  <Q, R> Iterator<R> read(MethodDescriptor<Q, R> method, Q request, Context context) {
    Context before = context.attach();
    try {
      return ClientCalls.blockingServerStreamingCall(channel, method, CallOptions.DEFAULT, request);
    } finally {
      context.detach(before);
    }
  }

  StreamObserver<ConsumeRequest> consume(StreamObserver<ConsumeResponse> responses, Context context) {
    Context before = context.attach();
    try {
      return ClientCalls.asyncBidiStreamingCall(channel.newCall(CONSUME, CallOptions.DEFAULT), responses);
    } finally {
      context.detach(before);
    }
  }

  TaffrailException failure(Throwable error, boolean isChange) {
    TaffrailException failure = TaffrailException.of(error, isChange);
    if (failure instanceof Unavailable) {
      if (isClosed) {
        return new Closed(failure);
      }
      // grpc-java waits up to two minutes before it connects again, which cannot be set: whoever asks again has waited.
      channel.resetConnectBackoff();
    }
    return failure;
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> topics(String name) {
    return method(TopicsProto.getDescriptor(), "Topics", name);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> log(String name) {
    return method(LogProto.getDescriptor(), "Log", name);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> entities(String name) {
    return method(EntitiesProto.getDescriptor(), "Entities", name);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> groups(String name) {
    return method(GroupsProto.getDescriptor(), "Groups", name);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> broker(String name) {
    return method(BrokerProto.getDescriptor(), "Broker", name);
  }

  /** A method by the descriptors that protobuf generates: code that gRPC generates has nothing beside that. */
  static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(
      Descriptors.FileDescriptor file, String service, String name) {
    Descriptors.MethodDescriptor found = file.findServiceByName(service).findMethodByName(name);
    MethodType type = MethodType.UNARY;
    if (found.isServerStreaming()) {
      type = found.isClientStreaming() ? MethodType.BIDI_STREAMING : MethodType.SERVER_STREAMING;
    }
    return MethodDescriptor.<Q, R>newBuilder()
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(found.getService().getFullName(), name))
        .setRequestMarshaller(ProtoUtils.marshaller(defaultOf(found.getInputType())))
        .setResponseMarshaller(ProtoUtils.marshaller(defaultOf(found.getOutputType())))
        .build();
  }

  @SuppressWarnings("unchecked")
  private static <M extends Message> M defaultOf(Descriptors.Descriptor type) {
    String name = "dev.taffrail.v1." + type.getName();
    try {
      return (M) Class.forName(name).getMethod("getDefaultInstance").invoke(null);
    } catch (ReflectiveOperationException error) {
      throw new IllegalStateException("there is no generated class " + name, error);
    }
  }
}
