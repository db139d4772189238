package peers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/peers"
)

// A greeting is what a client of greet's reads.
type greeting struct {
	Line string
	Hops int
}

var (
	greet = peers.Func("greet", func(t *peers.Task, name string) (served int, err error) {
		fmt.Println("this is not the protocol") // goes to standard error
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		stop := context.AfterFunc(t.Context(), func() { listener.Close() })
		defer stop()
		if err := t.Ready(listener.Addr()); err != nil {
			return 0, err
		}
		for ; ; served++ {
			connection, err := listener.Accept()
			if t.Context().Err() != nil {
				return served, nil
			}
			if err != nil {
				return served, err
			}
			t.Started(connection)
			fmt.Fprintf(connection, "hello %s\n", name)
			connection.Close()
		}
	})

	ask = peers.Func("ask", func(t *peers.Task, server string) (greeting, error) {
		if err := t.Ready(nil); err != nil {
			return greeting{}, err
		}
		connection, err := net.Dial("tcp", server)
		if err != nil {
			return greeting{Hops: 1}, fmt.Errorf("ask: %w", err)
		}
		defer connection.Close()
		line, err := bufio.NewReader(connection).ReadString('\n')
		return greeting{Line: line, Hops: 2}, err
	})

	// misbehave does what its argument says.
	misbehave = peers.Func("misbehave", func(t *peers.Task, how string) (string, error) {
		switch how {
		case "returns":
			return "", nil
		case "fails":
			return "", fmt.Errorf("no chance: %w", syscall.EADDRINUSE)
		}
		if err := t.Ready(nil); err != nil {
			return "", err
		}
		switch how {
		case "panics":
			panic("it was asked to")
		case "exits":
			os.Exit(7)
		case "reads":
			text, err := io.ReadAll(os.Stdin)
			return fmt.Sprintf("read %q", text), err
		case "waits":
			return "went on", t.Await()
		}
		return "", errors.New("unknown: " + how)
	})
)

// A function of this program as a server, another as its client, each in a process of its own.
func ExampleFunc() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // kills what still runs

	// var greet = peers.Func("greet", func(t *peers.Task, name string) (served int, err error) { ... })
	server, err := peers.Start(ctx, nil, "server", greet.With("world"))
	if err != nil {
		log.Fatal(err)
	}
	ready, err := server.Ready(ctx) // t.Ready(listener.Addr())
	if err != nil {
		log.Fatal(err)
	}
	client, err := peers.Start(ctx, nil, "client", ask.With(ready.Addr.String()))
	if err != nil {
		log.Fatal(err)
	}
	result, err := client.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := ask.Value(result)
	fmt.Printf("%+v %v\n", answer, err)
	result, err = server.Stop(ctx) // ends t.Context()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(greet.Value(result))
	// Output:
	// {Line:hello world
	//  Hops:2} <nil>
	// 1 <nil>
}

func startFunction(t *testing.T, p peers.Program) *peers.Peer {
	t.Helper()
	peer, err := peers.Start(t.Context(), nil, "it", p)
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

func TestFunctionsErrorComesWithItsErrnoAndItsValue(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // nobody listens there now
	result, err := startFunction(t, ask.With(listener.Addr().String())).Wait(t.Context())
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "ask: dial tcp 127.0.0.1:") {
		t.Errorf("got %v, expected the text of the function's error, and ECONNREFUSED in it", err)
	}
	if value, err := ask.Value(result); err != nil || value.Hops != 1 {
		t.Errorf("got the value %+v, %v, expected that of the function, which had an error too", value, err)
	}
	if _, err := greet.Value(result); !errors.Is(err, peers.ErrNoValue) {
		t.Errorf("the value of another function: got %v, expected ErrNoValue", err)
	}
}

func TestFunctionPrintsAndReadsAsProgramsDo(t *testing.T) {
	server := startFunction(t, greet.With("you"))
	if _, err := server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if said := string(server.Output()); said != "this is not the protocol\n" {
		t.Errorf("got %q on standard error, expected what it has printed on standard output", said)
	}
	result, err := startFunction(t, misbehave.With("reads")).Wait(t.Context())
	if value, valueErr := misbehave.Value(result); value != `read ""` || err != nil || valueErr != nil {
		t.Errorf("got %q, %v, %v, expected that standard input is empty", value, err, valueErr)
	}
}

func TestFunctionThatNeverWasReady(t *testing.T) {
	for how, want := range map[string]string{"returns": "Task.Ready", "fails": "no chance"} {
		peer := startFunction(t, misbehave.With(how))
		_, err := peer.Ready(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v of Ready, expected an error with %q", how, err, want)
		}
		if _, err := peer.Wait(t.Context()); how == "fails" && !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: got %v of Wait, expected EADDRINUSE", how, err)
		}
	}
}

func TestFunctionThatDies(t *testing.T) {
	for how, want := range map[string]string{"panics": "panic: it was asked to", "exits": "exited with status 7"} {
		peer := startFunction(t, misbehave.With(how))
		result, err := peer.Wait(t.Context())
		if exit := (*peers.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected an ExitError with %q", how, err, want)
		}
		if peer.Fault() == nil {
			t.Errorf("%s: got no fault", how)
		}
		if _, err := misbehave.Value(result); !errors.Is(err, peers.ErrNoValue) {
			t.Errorf("%s: got %v of Value, expected ErrNoValue", how, err)
		}
	}
}

func TestFunctionAwaits(t *testing.T) {
	peer := startFunction(t, misbehave.With("waits"))
	if err := peer.Continue(t.Context()); err != nil {
		t.Fatal(err)
	}
	result, err := peer.Wait(t.Context())
	if value, valueErr := misbehave.Value(result); value != "went on" || err != nil || valueErr != nil {
		t.Errorf("got %q, %v, %v", value, err, valueErr)
	}
}

func TestFunctionsAreRefused(t *testing.T) {
	if _, err := peers.Start(t.Context(), nil, "it", peers.Function[chan int, int]{}.With(nil)); err == nil {
		t.Error("a Function that Func has not made was started")
	}
	unfit := peers.Function[any, int](misbehave).With(make(chan int))
	if config := (*invalid.FieldError)(nil); !errors.As(unfit.Validate(), &config) {
		t.Errorf("got %v, expected a FieldError for an argument that no JSON can carry", unfit.Validate())
	}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "package variable") {
			t.Errorf("got the panic %q, expected one that tells what to do", said)
		}
	}()
	peers.Func("late", func(*peers.Task, int) (int, error) { return 0, nil })
}
