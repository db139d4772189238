// Package nginx shows what one lost segment costs a client of nginx: a server that is not in Go, as it is installed on this machine.
//
//	tcplab run ./nginx
package nginx

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M)  { harness.Main(m) }
func TestNginx(t *testing.T) { harness.RunSpecs(t, "nginx") }

// download is the client. Its value is how long the whole of it took.
var download = peers.Func("download", func(t *peers.Task, url string) (took time.Duration, err error) {
	if err := t.Ready(nil); err != nil {
		return 0, err
	}
	began := time.Now()
	response, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return time.Since(began), err
})

// configuration has nginx serve one small file, in the foreground, with nothing outside of its folder. The answer is one segment.
const configuration = `
daemon off; master_process off; user root; pid nginx.pid; error_log stderr;
events {}
http {
	access_log off; sendfile off;
	client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
	server { listen %s; location / { root www; } }
}
`

// nginx is the server, in a new folder with all that it needs.
func nginx(address string) peers.Command {
	dir := GinkgoT().TempDir()
	for name, content := range map[string]string{"nginx.conf": fmt.Sprintf(configuration, address), "www/hello.txt": "hello\n"} {
		path := filepath.Join(dir, name)
		Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		Expect(os.WriteFile(path, []byte(content), 0o644)).To(Succeed())
	}
	return peers.Command{
		Path: harness.ProgramPath("nginx"), Args: []string{"-p", dir, "-c", "nginx.conf", "-e", "stderr"}, Ready: peers.Readiness{Port: 80},
	}
}

// harness.Programs has it packed into the guest; where it is not installed the spec is skipped.
var _ = It("answers one RTO later if the only segment of the answer is lost", harness.Programs("nginx"), func(ctx SpecContext) {
	const (
		rtt       = 40 * time.Millisecond
		hostDelay = 10 * time.Millisecond // what nginx, net/http and two hosts may add
	)
	lab := harness.NewLab(ctx)
	path := lab.Path(rtt) // client - router - server
	loss := path.ToClient.Rule(rules.Drop(rules.Data.Number(1)))
	address := path.Server().Addr(80).String()

	lab.Start(path.Server(), nginx(address))
	took, err := download.Value(lab.Start(path.Client(), download.With("http://"+address+"/hello.txt")).Wait())
	Expect(err).NotTo(HaveOccurred())

	// One round trip for the handshake, one for request and answer; and the timer of the server, which has one segment in flight:
	// a tail loss probe then waits for a delayed ACK as well (RFC 8985, 7.2).
	probe := path.Server().Oracle().TailLossProbe(oracle.Exactly(rtt).LateBy(hostDelay), 1)
	lab.Measure("took", took, probe.Plus(oracle.Exactly(2*rtt).LateBy(hostDelay)), "two round trips")
	Expect(loss.Hits()).To(HaveLen(1))
	Expect(path.Server().Counters()).To(HaveGrown("TcpRetransSegs", 1))
})
