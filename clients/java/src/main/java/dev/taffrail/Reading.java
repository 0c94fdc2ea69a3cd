package dev.taffrail;

import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.v1.Edge;
import dev.taffrail.v1.ListOffsetsRequest;
import dev.taffrail.v1.ListOffsetsResponse;
import dev.taffrail.v1.PartitionOffset;
import dev.taffrail.v1.PartitionPosition;
import dev.taffrail.v1.Position;
import dev.taffrail.v1.ReadRequest;
import dev.taffrail.v1.ReadResponse;
import io.grpc.Context;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * The records of a read, one by one, or as they come with {@link #nextBatch}. Use one of them, in one thread at a time. It is
 * to be closed, which another thread may do; it ends with an error when the context that it was begun in does.
 *
 * <p>When the connection or the broker is lost, it goes on by itself behind what it has had, once the broker is back. After
 * {@link Unavailable}, when that took too long, whoever asks again goes on too.
 */
public final class Reading extends StoredRecords {
  private final Calls calls;
  private final ReadRequest asked;
  private final Map<Integer, Position> places = new TreeMap<>();
  private final Retries retries;
  private final Context.CancellableContext context = Context.current().withCancellation();
  private Iterator<ReadResponse> responses;
  private long left;
  private volatile boolean isClosed;

  /** Settles where each partition is read from, so that a read that breaks off before it has heard of one begins there again. */
  Reading(Calls calls, ReadRequest request, Duration giveUpAfter) {
    ListOffsetsResponse found =
        calls.ask(
            Calls.LIST_OFFSETS,
            ListOffsetsRequest.newBuilder()
                .setTopic(request.getTopic())
                .setTopicId(request.getTopicId())
                .setPosition(request.hasStart() ? request.getStart() : Wire.earliest())
                .addAllPartitions(request.getPartitionsList())
                .build());
    this.calls = calls;
    ReadRequest.Builder asked = request.toBuilder().setTopicId(found.getTopicId());
    if (request.getMaxResponseBytes() == 0) {
      asked.setMaxResponseBytes(Client.MAX_RESPONSE_BYTES);
    }
    this.asked = asked.build();
    retries = new Retries(giveUpAfter);
    left = request.getMaxRecords();
    for (PartitionOffset each : found.getOffsetsList()) {
      // The beginning may be trimmed meanwhile, and then is what is the beginning by then.
      boolean isEarliest = isEarliest(startOf(each.getPartition()));
      places.put(each.getPartition(), isEarliest ? Wire.earliest() : Wire.at(each.getOffset()));
    }
  }

  /** The topic's id: offsets mean nothing in another topic of the same name. */
  public String topicId() {
    return asked.getTopicId();
  }

  /** For each partition from which something has come, the offset behind what has come. */
  public Map<Integer, Long> positions() {
    return places.entrySet().stream()
        .filter(place -> place.getValue().hasOffset())
        .collect(Collectors.toMap(Map.Entry::getKey, place -> place.getValue().getOffset()));
  }

  @Override
  List<StoredRecord> receive() {
    ReadResponse response = nextBatch().orElse(null);
    if (response == null) {
      return null;
    }
    return StoredRecord.of(asked.getTopic(), response.getPartition(), response.getRecordsList(), 0);
  }

  /** The next records as they come, with how far the read is, and which entities were erased meanwhile; empty at the end. */
  public Optional<ReadResponse> nextBatch() {
    while (!isClosed) {
      try {
        if (responses == null) {
          responses = calls.read(Calls.READ, request(), context);
        }
        if (responses.hasNext()) {
          return Optional.of(take(responses.next()));
        }
        if (!asked.getFollow()) {
          break;
        }
        throw new Unavailable("the read was ended", null);
      } catch (RuntimeException error) {
        responses = null;
        TaffrailException failure = calls.failure(error, false);
        if (!isClosed && context.isCancelled()) {
          // The context that the read was begun in has ended.
          throw failure;
        }
        if (!isClosed) {
          retries.await(failure);
        }
      }
    }
    close();
    return Optional.empty();
  }

  /** Ends the read. */
  @Override
  public void close() {
    isClosed = true;
    context.cancel(null);
  }

  private ReadRequest request() {
    ReadRequest.Builder request = asked.toBuilder().clearPartitions().setMaxRecords(left);
    places.forEach((partition, place) -> request.addPartitionsBuilder().setPartition(partition).setPosition(place));
    return request.build();
  }

  private ReadResponse take(ReadResponse response) {
    retries.progress();
    places.put(response.getPartition(), Wire.at(response.getNextOffset()));
    if (left > 0) {
      left -= response.getRecordsCount();
      if (left == 0) {
        close();
      }
    }
    return response;
  }

  private Position startOf(int partition) {
    for (PartitionPosition each : asked.getPartitionsList()) {
      if (each.getPartition() == partition && each.hasPosition()) {
        return each.getPosition();
      }
    }
    return asked.hasStart() ? asked.getStart() : Wire.earliest();
  }

  private static boolean isEarliest(Position position) {
    return position.hasEdge() && position.getEdge() != Edge.EDGE_LATEST;
  }
}
