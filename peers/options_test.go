package peers

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/testenv"
)

// everything is a value for each field of Socket that any socket can have.
func everything() Socket {
	return Socket{
		Congestion: "reno", SendBuffer: 30_000, ReceiveBuffer: 40_000, MSS: 1000, WindowClamp: 20_000,
		NoDelay: true, Cork: true, QuickACK: new(false), NotSentLowWater: 5000, ReceiveLowWater: 6000,
		KeepAlive: true, KeepIdle: 2 * time.Second, KeepInterval: time.Second, KeepProbes: 3,
		UserTimeout: 1500 * time.Millisecond, SYNRetries: 2, Linger: new(3 * time.Second), Linger2: 4 * time.Second,
		ReuseAddr: new(true), ReusePort: true, MTUDiscover: "do",
	}
}

// Where the kernel keeps something else, newSocket fails: it reads back all that it sets.
func TestEveryOptionIsKept(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		addr := netip.MustParseAddrPort(addr)
		t.Run(addr.String(), func(t *testing.T) {
			client := everything()
			client.FastOpen, client.BindAddressNoPort = true, true
			sock, err := newSocket(addr, client, asBound)
			if errors.Is(err, unix.EAFNOSUPPORT) {
				t.Skip("this kernel has no IPv6")
			}
			if err != nil {
				t.Fatal(err)
			}
			sock.close()
		})
	}
}

// What a listener has, its connections have, and it is theirs before they are accepted.
func TestConnectionsInheritOptions(t *testing.T) {
	server := everything()
	server.FastOpenQueue, server.DeferAccept = 7, 4*time.Second
	l, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), server, 9)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	addr, err := l.localAddr()
	if err != nil {
		t.Fatal(err)
	}
	client, err := newSocket(addr, Socket{}, asClient)
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	ctx := testenv.Context(t)
	if _, err := client.connect(ctx, addr, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := client.f.Write([]byte{1}); err != nil { // for DeferAccept
		t.Fatal(err)
	}
	conn, _, err := l.accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	// Those that are the listener's own; and the kernel starts each connection with TCP_QUICKACK of its own choice.
	own := []string{"TCP_FASTOPEN", "TCP_DEFER_ACCEPT", "TCP_QUICKACK"}
	if err := conn.control(func(fd int) error {
		for _, x := range server.settings(unix.AF_INET, asListener) {
			if slices.Contains(own, x.option) {
				continue
			}
			o, _ := optionNamed(x.option)
			want := x.value
			if o.want != nil {
				want = o.want(want)
			}
			got, err := unix.GetsockoptInt(fd, o.level, o.opt)
			if x.option == "TCP_MAXSEG" { // of a connection, the kernel tells what is in use: less, by the timestamps
				want -= 12
			}
			if err != nil || got != want {
				t.Errorf("%s is %d, %v, expected %d", o.name, got, err, want)
			}
		}
		linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
		if err != nil || linger.Onoff != 1 || linger.Linger != 3 {
			t.Errorf("SO_LINGER is %+v, %v", linger, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The kernel takes what Validate takes, and no less than it refuses.
func TestOptionLimitsAreThoseOfTheKernel(t *testing.T) {
	// Above these, a sysctl or the machine's memory decides and not the option.
	unbounded := []string{"SO_SNDBUF", "SO_RCVBUF", "SO_RCVLOWAT", "TCP_FASTOPEN", "TCP_DEFER_ACCEPT"}
	for _, o := range options {
		if slices.Contains(unbounded, o.name) || strings.HasPrefix(o.name, "IPV6_") {
			continue
		}
		for _, value := range []int{o.min, o.max} {
			sock, err := newSocket(netip.MustParseAddrPort("127.0.0.1:1"), Socket{}, asClient)
			if err != nil {
				t.Fatal(err)
			}
			err = sock.control(func(fd int) error { return o.set(fd, value) })
			if o.name == "TCP_RTO_MAX_MS" && errors.Is(err, unix.ENOPROTOOPT) { // before Linux 6.15
				sock.close()
				break
			}
			if err != nil {
				t.Errorf("%s %d: %v", o.name, value, err)
			}
			for _, bad := range []int{o.min - 1, o.max + 1} {
				// On and off are any int for the kernel; 0 often means its own choice; and no int is larger than the largest.
				if o.max == 1 || bad == 0 || bad > maxInt {
					continue
				}
				if err := sock.control(func(fd int) error { return o.set(fd, bad) }); err == nil {
					t.Errorf("%s %d is kept, although Validate refuses it", o.name, bad)
				}
			}
			sock.close()
		}
	}
}

// The examples of secs_to_retrans in net/ipv4/tcp.c: 1, 3, 7, ... seconds.
func TestDeferAcceptIsRounded(t *testing.T) {
	for seconds, want := range map[int]int{1: 1, 2: 3, 3: 3, 4: 7, 8: 15, 63: 63} {
		if got := deferredFor(seconds); got != want {
			t.Errorf("%d s becomes %d s, expected %d", seconds, got, want)
		}
		l, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), Socket{DeferAccept: time.Duration(seconds) * time.Second}, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		l.close()
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, x := range []struct {
		name  string
		s     Socket
		role  role
		field string
	}{
		{"part of a second", Socket{KeepIdle: 1500 * time.Millisecond}, asClient, "KeepIdle"},
		{"negative interval", Socket{KeepInterval: -time.Second}, asClient, "KeepInterval"},
		{"many probes", Socket{KeepProbes: 128}, asClient, "KeepProbes"},
		{"part of a millisecond", Socket{UserTimeout: time.Microsecond}, asClient, "UserTimeout"},
		{"part of a millisecond of RTO", Socket{RTOMax: time.Second + time.Microsecond}, asClient, "RTOMax"},
		{"short greatest RTO", Socket{RTOMax: 999 * time.Millisecond}, asClient, "RTOMax"},
		{"long greatest RTO", Socket{RTOMax: 121 * time.Second}, asClient, "RTOMax"},
		{"long user timeout", Socket{UserTimeout: 1 << 32 * time.Millisecond}, asClient, "UserTimeout"},
		{"negative linger", Socket{Linger: new(-time.Second)}, asClient, "Linger"},
		{"long linger2", Socket{Linger2: 121 * time.Second}, asClient, "Linger2"},
		{"negative linger2", Socket{Linger2: -2 * time.Second}, asClient, "Linger2"},
		{"part of a second of linger2", Socket{Linger2: -time.Second / 2}, asClient, "Linger2"},
		{"small clamp", Socket{WindowClamp: 100}, asClient, "WindowClamp"},
		{"negative low water", Socket{NotSentLowWater: -1}, asClient, "NotSentLowWater"},
		{"negative low water of a reader", Socket{ReceiveLowWater: -1}, asListener, "ReceiveLowWater"},
		{"unknown discovery", Socket{MTUDiscover: "maybe"}, asClient, "MTUDiscover"},
		{"queue of a client", Socket{FastOpenQueue: 1}, asBound, "FastOpenQueue"},
		{"deferred accept of a client", Socket{DeferAccept: time.Second}, asClient, "DeferAccept"},
		{"long deferred accept", Socket{DeferAccept: 64 * time.Second}, asListener, "DeferAccept"},
		{"fast open of a listener", Socket{FastOpen: true}, asListener, "FastOpen"},
		{"no port without an address", Socket{BindAddressNoPort: true}, asClient, "BindAddressNoPort"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := check{program: "p"}
			c.socket(x.s, x.role)
			var e *invalid.FieldError
			if !errors.As(c.err, &e) || e.Field != x.field {
				t.Errorf("%v, expected an error about %s", c.err, x.field)
			}
		})
	}
	for _, r := range []role{asClient, asBound, asListener} {
		c := check{program: "p"}
		if c.socket(everything(), r); c.err != nil {
			t.Errorf("role %d: %v", r, c.err)
		}
		if c.socket(Socket{Linger2: NoFINWait2}, r); c.err != nil {
			t.Errorf("role %d: %v", r, c.err)
		}
	}
}
