package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
)

// exitSignal, and the number of the signal, is the exit status after a signal, as shells have it: 130 after ^C.
const exitSignal = 128

// endings are the signals that ask this process to end, and that it cleans up after: ^C, kill, the end of the terminal, and
// nobody who reads the output any more.
var endings = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE}

// An interruption is what was caught of them.
type interruption struct{ caught atomic.Int32 }

// until returns a context that ends with the first of the signals. A second ^C then ends the process at once; what
// it leaves is removed by the next one.
func (i *interruption) until(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	caught := make(chan os.Signal, len(endings))
	for _, sig := range endings {
		if sig == syscall.SIGHUP && signal.Ignored(sig) {
			continue // nohup
		}
		signal.Notify(caught, sig)
	}
	go func() {
		for sig := range caught {
			if i.caught.CompareAndSwap(0, int32(sig.(syscall.Signal))) {
				cancel()
				signal.Reset(syscall.SIGINT)
			}
		}
	}()
	return ctx
}

// status is the exit status of a command that ended with an error after a signal. That nobody reads the output need
// not be an error to it.
func (i *interruption) status(err error) (status int, interrupted bool) {
	sig := i.caught.Load()
	if sig == 0 || err == nil && syscall.Signal(sig) != syscall.SIGPIPE {
		return 0, false
	}
	return exitSignal + int(sig), true
}

// message is what is said of such an error, if anything.
func (i *interruption) message(err error) string {
	switch {
	case err == nil, errors.Is(err, errFailed), syscall.Signal(i.caught.Load()) == syscall.SIGPIPE:
		return ""
	case errors.Is(err, context.Canceled):
		return "interrupted"
	default:
		return "interrupted: " + err.Error()
	}
}

// endsAtOnce is for commands that leave nothing behind and may compute for long: a signal ends them where they are.
func endsAtOnce(command *cobra.Command) *cobra.Command {
	return before(command, func(*cobra.Command) { endAtOnce() })
}

// endAtOnce has signals end this process where it is, from now on.
func endAtOnce() { signal.Reset(endings...) }
