package dev.taffrail;

import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.v1.CommitResult;
import dev.taffrail.v1.ConsumeRequest;
import dev.taffrail.v1.ConsumeResponse;
import dev.taffrail.v1.JoinGroup;
import dev.taffrail.v1.StillWorking;
import io.grpc.Context;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.Timer;
import java.util.TimerTask;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** The stream of a member, with its heartbeat. What comes is bounded by the member's credit. */
final class MemberStream implements StreamObserver<ConsumeResponse>, AutoCloseable {
  /** A response, or why there is none any more. */
  record Arrival(ConsumeResponse response, TaffrailException error) {}

  /** Commits that are not answered. */
  final Queue<CompletableFuture<List<CommitResult>>> commits = new ArrayDeque<>();

  private final Calls calls;
  private final BlockingQueue<Arrival> inbox = new LinkedBlockingQueue<>();
  private final Context.CancellableContext context = Context.ROOT.withCancellation();
  private final Timer heartbeat = new Timer("taffrail-heartbeat", true);
  private final StreamObserver<ConsumeRequest> requests;
  private boolean isFinished;

  MemberStream(Calls calls, JoinGroup join) {
    this.calls = calls;
    requests = calls.consume(this, context);
    send(ConsumeRequest.newBuilder().setJoin(join).build());
    ConsumeRequest beat = ConsumeRequest.newBuilder().setStillWorking(StillWorking.getDefaultInstance()).build();
    TimerTask task =
        new TimerTask() {
          @Override
          public void run() {
            send(beat);
          }
        };
    synchronized (this) {
      // It may have failed already.
      if (!isFinished) {
        heartbeat.schedule(task, join.getSessionTimeoutMs() / 3, join.getSessionTimeoutMs() / 3);
      }
    }
  }

  synchronized void send(ConsumeRequest request) {
    if (!isFinished) {
      requests.onNext(request);
    }
  }

  /** Ends this side of the stream. */
  synchronized void finish() {
    if (!isFinished) {
      isFinished = true;
      heartbeat.cancel();
      requests.onCompleted();
    }
  }

  @Override
  public void close() {
    finish();
    context.cancel(null);
  }

  boolean hasNext() {
    return !inbox.isEmpty();
  }

  /** What comes next; null if nothing has come in time. Without a time it waits as long as it takes. */
  Arrival next(Duration timeout) {
    try {
      return timeout == null ? inbox.take() : inbox.poll(timeout.toNanos(), TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw new Unavailable("the thread was interrupted", interrupted);
    }
  }

  @Override
  public void onNext(ConsumeResponse response) {
    inbox.add(new Arrival(response, null));
  }

  @Override
  public synchronized void onError(Throwable error) {
    isFinished = true;
    heartbeat.cancel();
    inbox.add(new Arrival(null, calls.failure(error, false)));
  }

  @Override
  public void onCompleted() {
    onError(new Unavailable("the broker has ended the stream", null));
  }
}
