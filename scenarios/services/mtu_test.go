package services

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
)

// fits is the largest payload that gets through an MTU black hole to the client. Nobody says so: no ICMP message comes, as of a tunnel
// behind a firewall that drops ICMP.
const fits = 1300

// blackHole is a path with such a hole towards the client. What is larger than that is dropped at the router.
func blackHole(lab *harness.Lab, config ...netns.Config) (*harness.Network, *harness.Rule) {
	GinkgoHelper()
	net := lab.Path(rtt, config...)
	return net, net.ToClient.Rule(rules.Drop(rules.Data.PayloadAtLeast(fits + 1)))
}

// certificate is a server's, with its key, as PEM. It is as large as a usual chain: three segments.
func certificate() map[string]string {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"server"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: make([]byte, 3000)}}, // of RFC 5612's examples
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	Expect(err).NotTo(HaveOccurred())
	private, err := x509.MarshalECPrivateKey(key)
	Expect(err).NotTo(HaveOccurred())
	return map[string]string{
		"certificate.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
		"key.pem":         string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
	}
}

var _ = Describe("TLS through an MTU black hole:", harness.Programs("nginx", "curl"), func() {
	// get has curl get a small file by HTTPS.
	get := func(lab *harness.Lab, net *harness.Network, status int) (transfer, *harness.Capture) {
		GinkgoHelper()
		address := net.Server().Addr(443)
		files := certificate()
		files["www/small.txt"] = small
		lab.Start(net.Server(), nginx(443, files, "listen "+address.String()+" ssl", "ssl_certificate certificate.pem", "ssl_certificate_key key.pem",
			"ssl_protocols TLSv1.3", "client_header_timeout 1h")) // for the handshake, too
		wire := lab.Capture(net.Client(), net.Server())
		got := transferOf(lab.Start(net.Client(), curl(status, "-k", "https://"+address.String()+"/small.txt")))
		wire.Stop()
		return got, wire
	}
	// Handshake, TLS 1.3's handshake, request and answer. TLS also takes a guest of 500 million instructions a second some time:
	// libraries, keys, certificates. It is far below an RTO.
	overTLS := rtts(3).LateBy(60 * time.Millisecond).From("RFC 8446, 2: 3 RTT")

	It("on a path without one curl has the answer after three round trips", Label("quick", "netem", "rfc8446"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		got, wire := get(lab, net, 0)
		Expect(got.Code).To(Equal(200))
		lab.Measure("first byte after", got.FirstByte.duration(), overTLS)
		full := wire.DataFrom(net.Server(), analysis.On("server/eth0"), func(s analysis.Segment) bool { return s.Length > fits })
		lab.Measure("segments too large for the black hole", len(full), bounds.AtLeast(1), "the certificate")
	})

	It("connects at once, and hangs until curl gives up, as the certificate is in full segments", Label("long", "netem", "rfc2923"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, hole := blackHole(lab)
		got, wire := get(lab, net, 28)                                         // CURLE_OPERATION_TIMEDOUT
		Expect(net.Server().Counters()).To(HaveCounters{"TcpPassiveOpens": 1}) // a SYN is small
		lab.Measure("gave up after", got.Total.duration(), oracle.Exactly(300*time.Second).LateBy(time.Second), "curl: DEFAULT_CONNECT_TIMEOUT, TLS included")
		Expect(got.Encrypted).To(BeZero())
		lab.Measure("transmissions that were dropped", int(hole.Count().Acted), bounds.AtLeast(5), "RFC 6298, 5.5: back-off, for minutes")
		Expect(wire.From(net.Server(), analysis.WithData, analysis.On("client/eth0"))).To(HaveEach(HaveField("Length", BeNumerically("<=", fits))))
	})

	It("gets through with tcp_mtu_probing 1 at the server, after the time of tcp_retries1", Label("long", "netem", "rfc4821"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, hole := blackHole(lab, harness.ServerSysctls(netns.IPv4("tcp_mtu_probing", 1)))
		got, wire := get(lab, net, 0)
		Expect(got.Code).To(Equal(200))
		lab.Note("first byte after", got.FirstByte.duration())

		// The last segment is smaller, and gets through: its SACK makes the server retransmit the first one. From there on it is
		// as it would be from the first transmission on without a SACK: the RTO begins (tcp_rearm_rto).
		certificate := wire.DataFrom(net.Server(), analysis.On("server/eth0"))
		again := func(s analysis.Segment) bool { return s.Seq == certificate[0].Seq && s.Frame > certificate[0].Frame }
		transmissions := wire.DataFrom(net.Server(), analysis.On("server/eth0"), again)
		through := slices.IndexFunc(transmissions, func(s analysis.Segment) bool { return s.Length <= fits })
		Expect(through).To(BeNumerically(">", 0))
		out, ok := net.Server().Oracle().BlackHole(oracle.Flow{RTT: pathRTT, NoProbe: true}, harness.Payload(netns.DefaultMTU))
		Expect(ok).To(BeTrue())
		lab.Measure("smaller segments after", transmissions[through].At-transmissions[0].At, out.Found)
		Expect(transmissions[through].Length).To(Equal(out.MSS[0]))
		Expect(int(hole.Count().Acted)).To(BeNumerically(">=", 2+through)) // two full segments, and the first one once more each time
	})

	It("is not in the way of a router that clamps the MSS", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, hole := blackHole(lab)
		const clamp = fits + harness.TCPTimestamps // an MSS counts options as payload (RFC 6691)
		net.Routers[0].Middlebox(middlebox.Box{ClampMSS: clamp})
		got, wire := get(lab, net, 0)
		Expect(got.Code).To(Equal(200))
		lab.Measure("first byte after", got.FirstByte.duration(), overTLS)
		Expect(hole.Count().Acted).To(BeZero())
		Expect(wire).To(Contain(SYN(HaveField("MSS", BeEquivalentTo(clamp)))))
	})
})
