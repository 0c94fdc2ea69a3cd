package dev.taffrail;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.taffrail.v1.Conflict;
import dev.taffrail.v1.FailedCondition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.net.ConnectException;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Any error of a call, by what a caller should do about it.
 *
 * <p>A status that carries {@code google.rpc.ErrorInfo} is the broker's own answer. Any other comes from the connection, or
 * from something in between, and does not say whether a call that was sent has been carried out.
 */
public class TaffrailException extends RuntimeException {
  private final Status.Code code;
  private final String reason;
  private final transient Map<String, String> metadata;
  private final Duration retryAfter;

  TaffrailException(Told told) {
    super(told.message, told.cause);
    code = told.code;
    reason = told.reason;
    metadata = told.metadata;
    retryAfter = told.retryAfter;
  }

  /** The status code of gRPC. */
  public Status.Code code() {
    return code;
  }

  /** The broker's reason, such as UNKNOWN_TOPIC; empty if the error is not an answer of the broker. */
  public String reason() {
    return reason;
  }

  /** The values that the message mentions, by name. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /** A number of the metadata; 0 if it is not there. */
  public long number(String name) {
    return Long.parseUnsignedLong(metadata.getOrDefault(name, "0"));
  }

  /** When to try again, where the broker says so. */
  public Duration retryAfter() {
    return retryAfter;
  }

  boolean isWorthAnotherTry() {
    // What is refused until then says so, as a quota does.
    boolean isTold = TRIED_AGAIN.contains(reason) || !retryAfter.isZero();
    return this instanceof Unavailable || this instanceof OutcomeUnknown || isTold;
  }

  /** The broker cannot be reached, is shutting down, or did not answer a question. Nothing was changed. */
  public static final class Unavailable extends TaffrailException {
    Unavailable(Told told) {
      super(told);
    }

    Unavailable(String message, Throwable cause) {
      super(new Told(Status.Code.UNAVAILABLE, message, cause));
    }
  }

  /** The client was closed. Nothing was sent, or what was asked is not answered any more. Final. */
  public static final class Closed extends TaffrailException {
    Closed(Throwable cause) {
      super(new Told(Status.Code.CANCELLED, "the client was closed", cause));
    }
  }

  /** The answer to a change was lost: it was made, or not. Read to find out. */
  public static final class OutcomeUnknown extends TaffrailException {
    OutcomeUnknown(Told told) {
      super(told);
    }

    OutcomeUnknown(String message, Throwable cause) {
      super(new Told(Status.Code.UNKNOWN, message, cause));
    }
  }

  /** The broker refused. Nothing was stored or changed. */
  public static class Refused extends TaffrailException {
    Refused(Told told) {
      super(told);
    }
  }

  /** There is no such topic, partition, group or erasure. */
  public static final class NotFound extends Refused {
    NotFound(Told told) {
      super(told);
    }
  }

  /** There is one of that name already. */
  public static final class AlreadyExists extends Refused {
    AlreadyExists(Told told) {
      super(told);
    }
  }

  /** Another one has taken over: a newer producer or member of the same name. Final. */
  public static final class Fenced extends Refused {
    Fenced(Told told) {
      super(told);
    }
  }

  /** Conditions of an append do not hold. Look at what is there now, and decide again. */
  public static final class ConditionFailed extends Refused {
    private final transient List<FailedCondition> failed;

    ConditionFailed(Told told) {
      super(told);
      failed = told.failed;
    }

    /** The conditions that do not hold, in their order. */
    public List<FailedCondition> failed() {
      return failed;
    }

    /**
     * Of the first condition that does not hold: the version that the entity has, 0 for none, or the offset that the
     * partition's next record gets.
     */
    public long actual() {
      if (failed.isEmpty()) {
        return 0;
      }
      FailedCondition first = failed.get(0);
      return first.hasNextOffset() ? first.getNextOffset() : first.getVersion();
    }
  }

  /**
   * The place to read from is trimmed, or above the end: {@link #number} has "partition", "earliest" and "high_watermark".
   */
  public static final class OffsetOutOfRange extends Refused {
    OffsetOutOfRange(Told told) {
      super(told);
    }
  }

  /**
   * Records are damaged on disk: {@link #number} has "partition", "from_offset", and "to_offset", where reads can go on.
   */
  public static final class DamagedRecords extends Refused {
    DamagedRecords(Told told) {
      super(told);
    }
  }

  /** The content of a status. */
  static final class Told {
    private final Status.Code code;
    private final String message;
    private final Throwable cause;
    private String reason = "";
    private Map<String, String> metadata = Map.of();
    private Duration retryAfter = Duration.ZERO;
    private List<FailedCondition> failed = List.of();

    Told(Status.Code code, String message, Throwable cause) {
      this.code = code;
      this.message = message;
      this.cause = cause;
    }
  }

  private static final Set<String> FENCED = Set.of("FENCED", "COMMIT_FENCED", "OUT_OF_SEQUENCE", "UNKNOWN_PRODUCER");
  private static final Set<String> TRIED_AGAIN = Set.of("OVERLOADED", "DISK_FULL", "PARTITION_FULL", "RETENTION_HELD");

  /**
   * Without the broker's own words these say all the same that nothing was done. RESOURCE_EXHAUSTED is what grpc-java
   * answers to a message over its own limit: trying again does not make it smaller.
   */
  private static final Set<Status.Code> REFUSED_BY_ANYBODY =
      Set.of(
          Status.Code.INVALID_ARGUMENT,
          Status.Code.NOT_FOUND,
          Status.Code.ALREADY_EXISTS,
          Status.Code.PERMISSION_DENIED,
          Status.Code.FAILED_PRECONDITION,
          Status.Code.OUT_OF_RANGE,
          Status.Code.UNIMPLEMENTED,
          Status.Code.UNAUTHENTICATED,
          Status.Code.RESOURCE_EXHAUSTED);

  /** The error of a call. A change's outcome is not known without an answer. */
  static TaffrailException of(Throwable error, boolean isChange) {
    if (!(error instanceof StatusRuntimeException failure)) {
      return error instanceof TaffrailException known ? known : new Unavailable(String.valueOf(error.getMessage()), error);
    }
    Status status = failure.getStatus();
    Told told = new Told(status.getCode(), String.valueOf(status.getDescription()), failure);
    boolean isBrokers = false;
    com.google.rpc.Status details = StatusProto.fromThrowable(failure);
    for (Any any : details == null ? List.<Any>of() : details.getDetailsList()) {
      if (any.is(ErrorInfo.class)) {
        ErrorInfo info = unpacked(any, ErrorInfo.class);
        told.reason = info.getReason();
        told.metadata = info.getMetadataMap();
        isBrokers = true;
      } else if (any.is(RetryInfo.class)) {
        var delay = unpacked(any, RetryInfo.class).getRetryDelay();
        told.retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
      } else if (any.is(Conflict.class)) {
        told.failed = unpacked(any, Conflict.class).getFailedList();
      }
    }
    return isBrokers ? answered(told, isChange) : lost(told, failure, isChange);
  }

  private static TaffrailException answered(Told told, boolean isChange) {
    if (told.reason.equals("CONFLICT")) {
      return new ConditionFailed(told);
    }
    if (FENCED.contains(told.reason)) {
      return new Fenced(told);
    }
    return switch (told.code) {
      case UNAVAILABLE -> new Unavailable(told);
      // The broker has stopped waiting, not what it waited for.
      case UNKNOWN, DEADLINE_EXCEEDED -> isChange ? new OutcomeUnknown(told) : new Unavailable(told);
      default -> refusal(told);
    };
  }

  private static TaffrailException lost(Told told, Throwable failure, boolean isChange) {
    if (REFUSED_BY_ANYBODY.contains(told.code)) {
      return refusal(told);
    }
    for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
      // Then it was never sent.
      if (cause instanceof ConnectException || cause instanceof UnknownHostException) {
        return new Unavailable(told);
      }
    }
    return isChange ? new OutcomeUnknown(told) : new Unavailable(told);
  }

  private static Refused refusal(Told told) {
    return switch (told.code) {
      case NOT_FOUND -> new NotFound(told);
      case ALREADY_EXISTS -> new AlreadyExists(told);
      case OUT_OF_RANGE -> new OffsetOutOfRange(told);
      case DATA_LOSS -> new DamagedRecords(told);
      default -> new Refused(told);
    };
  }

  private static <M extends Message> M unpacked(Any any, Class<M> type) {
    try {
      return any.unpack(type);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException("the broker's error has details that are no protobuf", error);
    }
  }
}
