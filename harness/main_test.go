package harness

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

// The test binary is also the suites that the tests run, and a program that does nothing.
const (
	fixtureVariable = "TCPLAB_HARNESS_FIXTURE" // the name of the suite
	idleVariable    = "TCPLAB_HARNESS_IDLE"    // set for a program that waits to be killed
	daemonVariable  = "TCPLAB_HARNESS_DAEMON"  // set for a program that leaves one behind that waits to be killed
	goVariable      = "TCPLAB_HARNESS_GO"      // set for what acts like the go command
	exitVariable    = "TCPLAB_HARNESS_EXIT"    // set for a program that complains and exits: its status
	listenVariable  = "TCPLAB_HARNESS_LISTEN"  // set for a program that takes a while until it listens: its address
)

func TestMain(m *testing.M) {
	if os.Getenv(idleVariable) != "" {
		for {
			time.Sleep(time.Hour) // the runtime takes a bare select for a deadlock
		}
	}
	if os.Getenv(goVariable) != "" {
		actAsGo()
		return
	}
	if os.Getenv(daemonVariable) != "" {
		daemonize()
		return
	}
	if text := os.Getenv(exitVariable); text != "" {
		status, err := strconv.Atoi(text)
		if err != nil {
			panic(err)
		}
		time.Sleep(50 * time.Millisecond) // somebody may wait for something by then
		fmt.Fprintln(os.Stderr, "the configuration makes no sense")
		os.Exit(status)
	}
	if address := os.Getenv(listenVariable); address != "" {
		time.Sleep(100 * time.Millisecond)
		if _, err := net.Listen("tcp", address); err != nil {
			panic(err)
		}
		for {
			time.Sleep(time.Hour)
		}
	}
	flag.Parse()
	fixture := os.Getenv(fixtureVariable)
	if fixture != "" {
		// Set here, and not by an argument, for the sake of "ginkgo -p", which has its own.
		if err := flag.Set("test.run", "^TestFixture$"); err != nil {
			panic(err)
		}
	} else if config, _ := ginkgo.GinkgoConfiguration(); config.DryRun {
		os.Exit(0) // tcplab asks what links Ginkgo for its specs: here are none but the fixtures'
	}
	Main(m)
}

// actAsGo runs this program as "go test ./..." does: what it says is shown if it fails.
func actAsGo() {
	suite := exec.Command(os.Getenv(goVariable), os.Args[1:]...)
	suite.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, goVariable+"=") })
	output, err := suite.CombinedOutput()
	if err != nil {
		os.Stdout.Write(output)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// daemonize leaves a process behind in a session, and so in a process group, of its own.
func daemonize() {
	daemon := exec.Command("/proc/self/exe")
	daemon.Env = []string{idleVariable + "=1"}
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		panic(err)
	}
}

func TestFixture(t *testing.T) {
	name := os.Getenv(fixtureVariable)
	if name == "" {
		t.Skip("is the suite that other tests run: see fixtures_test.go")
	}
	fixture, ok := fixtures[name]
	if !ok {
		t.Fatalf("there is no fixture %q", name)
	}
	if !fixture.netem {
		// Hosts and links are all that it needs. What misses netem is tested with another fixture.
		probe = func() error { return nil }
	}
	fixture.specs()
	RunSpecs(t, "fixture "+name, ginkgo.Label("fixture"))
}

func needNamespaces(t testing.TB) {
	t.Helper()
	host, err := netns.NewHost("probe")
	if err != nil {
		testenv.Missing(t, "needs root and network namespaces: "+err.Error())
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
}

func needNetem(t testing.TB) {
	t.Helper()
	if err := impair.Probe(); err != nil {
		testenv.Missing(t, "needs root and sch_netem (tcplab run ./harness): "+err.Error())
	}
}
