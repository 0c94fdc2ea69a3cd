package dev.taffrail;

import com.google.protobuf.Descriptors;
import com.google.protobuf.Descriptors.ServiceDescriptor;
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
  static final ServiceDescriptor TOPICS = TopicsProto.getDescriptor().findServiceByName("Topics");
  static final ServiceDescriptor LOG = LogProto.getDescriptor().findServiceByName("Log");
  static final ServiceDescriptor ENTITIES = EntitiesProto.getDescriptor().findServiceByName("Entities");
  static final ServiceDescriptor GROUPS = GroupsProto.getDescriptor().findServiceByName("Groups");
  static final ServiceDescriptor BROKER = BrokerProto.getDescriptor().findServiceByName("Broker");

  static final MethodDescriptor<CreateTopicRequest, CreateTopicResponse> CREATE_TOPIC = method(TOPICS, "Create");
  static final MethodDescriptor<ListTopicsRequest, ListTopicsResponse> LIST_TOPICS = method(TOPICS, "List");
  static final MethodDescriptor<DescribeTopicRequest, DescribeTopicResponse> DESCRIBE_TOPIC = method(TOPICS, "Describe");
  static final MethodDescriptor<AlterTopicRequest, AlterTopicResponse> ALTER_TOPIC = method(TOPICS, "Alter");
  static final MethodDescriptor<DeleteTopicRequest, DeleteTopicResponse> DELETE_TOPIC = method(TOPICS, "Delete");
  static final MethodDescriptor<TrimRequest, TrimResponse> TRIM = method(TOPICS, "Trim");
  static final MethodDescriptor<AppendRequest, AppendResponse> APPEND = method(LOG, "Append");
  static final MethodDescriptor<OpenProducerRequest, OpenProducerResponse> OPEN_PRODUCER = method(LOG, "OpenProducer");
  static final MethodDescriptor<ReadRequest, ReadResponse> READ = method(LOG, "Read");
  static final MethodDescriptor<ListOffsetsRequest, ListOffsetsResponse> LIST_OFFSETS = method(LOG, "ListOffsets");
  static final MethodDescriptor<ReadKeyRequest, ReadKeyResponse> READ_KEY = method(ENTITIES, "ReadKey");
  static final MethodDescriptor<GetLatestRequest, GetLatestResponse> GET_LATEST = method(ENTITIES, "GetLatest");
  static final MethodDescriptor<EraseKeyRequest, EraseKeyResponse> ERASE_KEY = method(ENTITIES, "EraseKey");
  static final MethodDescriptor<DescribeErasureRequest, DescribeErasureResponse> DESCRIBE_ERASURE =
      method(ENTITIES, "DescribeErasure");
  static final MethodDescriptor<ConsumeRequest, ConsumeResponse> CONSUME = method(GROUPS, "Consume");
  static final MethodDescriptor<FetchOffsetsRequest, FetchOffsetsResponse> FETCH_OFFSETS = method(GROUPS, "FetchOffsets");
  static final MethodDescriptor<ForkGroupRequest, ForkGroupResponse> FORK_GROUP = method(GROUPS, "Fork");
  static final MethodDescriptor<DeleteGroupRequest, DeleteGroupResponse> DELETE_GROUP = method(GROUPS, "Delete");
  static final MethodDescriptor<LimitsRequest, LimitsResponse> LIMITS = method(BROKER, "Limits");

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

  /** A method by the descriptors that protobuf generates: code that gRPC generates has nothing beside that. */
  static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(ServiceDescriptor service, String name) {
    Descriptors.MethodDescriptor found = service.findMethodByName(name);
    MethodType type = MethodType.UNARY;
    if (found.isServerStreaming()) {
      type = found.isClientStreaming() ? MethodType.BIDI_STREAMING : MethodType.SERVER_STREAMING;
    }
    return MethodDescriptor.<Q, R>newBuilder()
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(service.getFullName(), name))
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
