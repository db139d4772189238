package thread

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRun(t *testing.T) {
	want := errors.New("it")
	var inside int
	if err := Run(func() error { inside = unix.Gettid(); return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want what the function returned", err)
	}
	if inside == unix.Getpid() || inside == 0 {
		t.Errorf("ran on thread %d of process %d: want another than the main thread", inside, unix.Getpid())
	}
}

func TestPanicGoesOn(t *testing.T) {
	defer func() {
		if said := recover(); said != "it" {
			t.Errorf("recovered %v, want the function's panic", said)
		}
	}()
	_ = Run(func() error { panic("it") })
	t.Error("Run has returned")
}
