package taffrail

import (
	"testing"
	"time"
)

func TestPausesDoubleUpToALimitAndBeginAnewWithProgress(t *testing.T) {
	retries := newRetries(-1)
	away := &Error{kind: ErrUnavailable}
	for number := range 20 {
		longest := min(firstPause<<number, lastPause)
		if pause, isThere := retries.pause(away); !isThere || pause < longest/2 || pause > longest {
			t.Fatalf("pause %d is %v, %v", number, pause, isThere)
		}
	}
	retries.progress()
	if pause, _ := retries.pause(away); pause > firstPause {
		t.Fatalf("with progress it is %v", pause)
	}
	if pause, _ := retries.pause(&Error{kind: ErrUnavailable, RetryAfter: 7 * time.Second}); pause != 7*time.Second {
		t.Fatalf("where the broker says 7 s it is %v", pause)
	}
}

func TestThereIsNoOtherTryWhenTheTimeIsOverAndTheWholeTimeAgainBehindThat(t *testing.T) {
	now := time.Now()
	retries := newRetries(10 * time.Second)
	retries.now = func() time.Time { return now }
	failLater := func(later time.Duration, want bool) {
		t.Helper()
		now = now.Add(later)
		if _, isThere := retries.pause(&Error{kind: ErrUnavailable}); isThere != want {
			t.Fatalf("another try: %v", isThere)
		}
	}
	for range 2 {
		// The time for failures begins with the first failure, however long the program made no call before.
		failLater(1000*time.Second, true)
		failLater(9*time.Second, true)
		retries.progress()
		failLater(0, true)
		failLater(9*time.Second, true)
		failLater(2*time.Second, false)
	}
}

func TestWhatWasRefusedIsNotTriedAgainButForWantOfRoom(t *testing.T) {
	retries := newRetries(-1)
	if _, isThere := retries.pause(&Error{kind: ErrRefused, Reason: "UNKNOWN_TOPIC"}); isThere {
		t.Fatal("it is tried again")
	}
	if _, isThere := retries.pause(&Error{kind: ErrRefused, Reason: "DISK_FULL"}); !isThere {
		t.Fatal("it is not tried again")
	}
}

func TestARefusalThatSaysWhenItWillHavePassedIsWaitedForIfThereIsTime(t *testing.T) {
	retries := newRetries(10 * time.Second)
	quota := func(after time.Duration) *Error {
		return &Error{kind: ErrRefused, Reason: "QUOTA_EXCEEDED", RetryAfter: after}
	}
	if pause, isThere := retries.pause(quota(7 * time.Second)); !isThere || pause != 7*time.Second {
		t.Fatalf("it is waited for %v, %v", pause, isThere)
	}
	for _, after := range []time.Duration{11 * time.Second, 0} {
		if _, isThere := retries.pause(quota(after)); isThere {
			t.Fatalf("what passes after %v is tried again", after)
		}
	}
}

func TestKeysAreHashedAsKafkaDoes(t *testing.T) {
	for text, want := range map[string]int32{"21": -973_932_308, "foobar": -790_332_482, "": 275_646_681} {
		if hash := int32(murmur2([]byte(text))); hash != want {
			t.Errorf("%q is %d, not %d", text, hash, want)
		}
	}
}
