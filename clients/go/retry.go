package taffrail

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// retries decides after each failure whether there is another try, and waits for it: pauses that double and differ from
// each other, and a budget of time that recovers.
type retries struct {
	// For how long there may be nothing but failures; below 0: for ever.
	giveUpAfter time.Duration
	longest     time.Duration
	// When the present failures began; zero without one. The time since the last success does not count, because a
	// program may take long over what it received.
	firstFailure time.Time
	now          func() time.Time
}

func newRetries(giveUpAfter time.Duration) *retries {
	r := &retries{giveUpAfter: giveUpAfter, now: time.Now}
	r.progress()
	return r
}

// progress notes a success: the whole time for failures is available again.
func (r *retries) progress() {
	r.longest, r.firstFailure = firstPause, time.Time{}
}

// pause says how long to wait before the next try, or that there is none, or not in time.
func (r *retries) pause(err *Error) (time.Duration, bool) {
	if !isWorthAnotherTry(err) {
		return 0, false
	}
	now := r.now()
	if r.firstFailure.IsZero() {
		r.firstFailure = now
	}
	if r.giveUpAfter > 0 && now.Sub(r.firstFailure)+err.RetryAfter >= r.giveUpAfter {
		// The next call has the whole time again.
		r.progress()
		return 0, false
	}
	// All clients of a broker lose it at the same moment, and should not all come back at the same one.
	pause := r.longest/2 + rand.N(r.longest/2)
	r.longest = min(2*r.longest, lastPause)
	return max(pause, err.RetryAfter), true
}

// wait waits for the next try. It returns the error if there is no next try, or the context ends before it.
func (r *retries) wait(ctx context.Context, err *Error) error {
	pause, isThere := r.pause(err)
	if !isThere || ctx.Err() != nil {
		return err
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return err
	}
}
