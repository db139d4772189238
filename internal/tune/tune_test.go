package tune

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/harness/kernelversion"
)

// debian are the settings of a Debian 12 machine, as far as they differ from the oracle's defaults.
func debian(t *testing.T, changes ...string) Settings {
	t.Helper()
	s, err := Parse(strings.NewReader(`
net.ipv4.tcp_rmem = 4096	131072	6291456
net.ipv4.tcp_wmem = 4096	16384	4194304
net.ipv4.tcp_mem = 190000 250000 380000
net.ipv4.tcp_adv_win_scale = 1
net.ipv4.tcp_congestion_control = cubic
net.ipv4.tcp_notsent_lowat = 4294967295
net.core.rmem_max = 212992
net.core.default_qdisc = fq_codel
net.ipv4.ip_local_port_range = 32768 60999
net.ipv4.tcp_syncookies = 1
net.ipv4.tcp_max_syn_backlog = 512
net.core.somaxconn = 4096
net.ipv4.tcp_max_tw_buckets = 8192
net.ipv4.tcp_tw_reuse = 2
net.ipv4.tcp_timestamps = 1
net.ipv4.tcp_sack = 1
net.ipv4.tcp_window_scaling = 1
net.ipv4.tcp_slow_start_after_idle = 1
net.ipv4.tcp_mtu_probing = 0
net.ipv4.tcp_keepalive_time = 7200
` + strings.Join(changes, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func advise(t *testing.T, s Settings, release string, p Path) Report {
	t.Helper()
	version, err := kernelversion.Parse(release)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Advise(s, version, p)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func keys(r Report) (list []string) {
	for _, a := range r.Advice {
		list = append(list, strings.TrimPrefix(a.Key, "net.ipv4.")+" = "+a.Advised)
	}
	return list
}

// expectWhole wants each field of a struct to say something.
func expectWhole(g *WithT, said any) {
	for i := range reflect.TypeOf(said).NumField() {
		field := reflect.ValueOf(said).Field(i)
		g.Expect(field.String()).NotTo(BeEmpty(), "%+v", said)
	}
}

// Each path is just at one side of a rule's edge: what would change nothing is not advised.
func TestAdvice(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		path    Path
		changes []string
		release string
		want    []string
	}{
		"a path that the defaults fill": {path: Path{Rate: 300e6, RTT: 80 * ms}}, // 3 MB; half of 6 MiB
		"a path that needs more": {path: Path{Rate: 1e9, RTT: 80 * ms}, // 10 MB
			want: []string{"tcp_rmem = 4096 131072 40894464", "tcp_wmem = 4096 16384 32505856"}},
		"between the two buffers":     {path: Path{Rate: 330e6, RTT: 80 * ms}, want: []string{"tcp_rmem = 4096 131072 13631488"}}, // 3.3 MB
		"another share of the buffer": {path: Path{Rate: 330e6, RTT: 80 * ms}, changes: []string{"net.ipv4.tcp_adv_win_scale = 2"}},
		"the share is of older kernels": {path: Path{Rate: 330e6, RTT: 80 * ms}, changes: []string{"net.ipv4.tcp_adv_win_scale = 2"}, release: "6.12.0",
			want: []string{"tcp_rmem = 4096 131072 13631488"}},
		"no scaling, on a short path": {path: Path{Rate: 5e6, RTT: 100 * ms}, changes: []string{"net.ipv4.tcp_window_scaling=0"}},
		"no scaling":                  {path: Path{Rate: 20e6, RTT: 100 * ms}, changes: []string{"net.ipv4.tcp_window_scaling=0"}, want: []string{"tcp_window_scaling = 1"}},
		"no SACK":                     {path: Path{Rate: 20e6, RTT: 100 * ms}, changes: []string{"net.ipv4.tcp_sack=0"}, want: []string{"tcp_sack = 1"}},
		"no time stamps, slow":        {path: Path{Rate: 100e6, RTT: 10 * ms}, changes: []string{"net.ipv4.tcp_timestamps=0"}}, // round in 343 s
		"no time stamps":              {path: Path{Rate: 1e9, RTT: 1 * ms}, changes: []string{"net.ipv4.tcp_timestamps=0"}, want: []string{"tcp_timestamps = 1"}},
		"loss that CUBIC bears":       {path: Path{Rate: 1e6, RTT: 100 * ms, Loss: 0.001}},
		"loss":                        {path: Path{Rate: 100e6, RTT: 100 * ms, Loss: 0.01}, want: []string{"tcp_congestion_control = bbr"}},
		"loss, and BBR already":       {path: Path{Rate: 100e6, RTT: 100 * ms, Loss: 0.01}, changes: []string{"net.ipv4.tcp_congestion_control=bbr"}},
		"loss that nobody bears":      {path: Path{Rate: 100e6, RTT: 100 * ms, Loss: 0.3}},
		"a pause":                     {path: Path{Rate: 100e6, RTT: 100 * ms, Idle: time.Second}, want: []string{"tcp_slow_start_after_idle = 0"}},
		"a pause below an RTO":        {path: Path{Rate: 100e6, RTT: 100 * ms, Idle: 300 * ms}},
		"a pause on a path that an initial window fills": {path: Path{Rate: 1e6, RTT: 100 * ms, Idle: time.Second}},
		"ICMP is filtered":           {path: Path{Rate: 1e6, RTT: 10 * ms, NoICMP: true}, want: []string{"tcp_mtu_probing = 1"}},
		"a middlebox":                {path: Path{Rate: 1e6, RTT: 10 * ms, Forgets: 350 * time.Second}, want: []string{"tcp_keepalive_time = 175"}},
		"a middlebox that remembers": {path: Path{Rate: 1e6, RTT: 10 * ms, Forgets: 3 * time.Hour}},
		"clients that come at once":  {path: Path{Rate: 1e6, RTT: 10 * ms, Connections: 4097}, changes: []string{"net.ipv4.tcp_notsent_lowat=131072"}},
		"more of them": {path: Path{Rate: 1e6, RTT: 10 * ms, Connections: 4098}, changes: []string{"net.ipv4.tcp_notsent_lowat=131072"},
			want: []string{"net.core.somaxconn = 4098"}},
		"no cookies": {path: Path{Rate: 1e6, RTT: 10 * ms, Connections: 1000}, changes: []string{"net.ipv4.tcp_notsent_lowat=131072", "net.ipv4.tcp_syncookies=0"},
			want: []string{"tcp_max_syn_backlog = 2048"}},
		"unsent data beyond all memory": {path: Path{Rate: 1e6, RTT: 10 * ms, Connections: 250}, want: []string{"tcp_notsent_lowat = 131072"}},
		"more connections than ports": {path: Path{Rate: 1e6, RTT: 10 * ms, Connections: 28233}, changes: []string{"net.ipv4.tcp_notsent_lowat=131072", "net.core.somaxconn=65535"},
			want: []string{"ip_local_port_range = 1024 65535"}},
		"as many as ports": {path: Path{Rate: 1e6, RTT: 10 * ms, Connections: 28232}, changes: []string{"net.ipv4.tcp_notsent_lowat=131072", "net.core.somaxconn=65535"}},
		"many that are closed": {path: Path{Rate: 1e6, RTT: 10 * ms, New: 500},
			want: []string{"ip_local_port_range = 1024 65535", "tcp_tw_reuse = 1", "tcp_max_tw_buckets = 32768"}},
		"a small firewall": {path: Path{Rate: 1e6, RTT: 10 * ms, New: 100}, changes: []string{"net.netfilter.nf_conntrack_max=8192"},
			want: []string{"net.netfilter.nf_conntrack_max = 16384"}},
		"little memory": {path: Path{Rate: 300e6, RTT: 80 * ms}, changes: []string{"net.ipv4.tcp_mem=1000 1300 2000", "net.ipv4.tcp_notsent_lowat=131072"},
			want: []string{"tcp_mem = 2932 3909 5864"}},
	} {
		t.Run(name, func(t *testing.T) {
			release := c.release
			if release == "" {
				release = "6.1.0"
			}
			report := advise(t, debian(t, c.changes...), release, c.path)
			g := NewWithT(t)
			g.Expect(keys(report)).To(Equal(c.want))
			for _, a := range report.Advice {
				expectWhole(g, a)
			}
			// Who follows the advice is not given it again.
			after := debian(t, c.changes...)
			for _, a := range report.Advice {
				after[a.Key] = a.Advised
			}
			g.Expect(keys(advise(t, after, release, c.path))).To(BeEmpty())
		})
	}
}

func TestFolklore(t *testing.T) {
	g := NewWithT(t)
	path := Path{Rate: 1e6, RTT: 10 * time.Millisecond}
	g.Expect(advise(t, debian(t), "6.1.0", path).Folklore).To(BeEmpty(), "as a machine comes")
	report := advise(t, debian(t, "net.ipv4.tcp_tw_recycle=1", "net.ipv4.tcp_fin_timeout=15", "net.core.rmem_max=16777216", "net.core.wmem_max=1",
		"net.ipv4.tcp_low_latency=1", "net.ipv4.tcp_fack=1", "net.ipv4.tcp_syncookies=2", "net.ipv4.tcp_max_syn_backlog=65536",
		"net.core.netdev_max_backlog=250000", "net.ipv4.tcp_rfc1337=1", "net.core.default_qdisc=fq", "net.ipv4.tcp_congestion_control=bbr"), "6.1.0", path)
	g.Expect(report.Folklore).To(HaveLen(len(folklore)))
	for _, f := range report.Folklore {
		expectWhole(g, f)
	}
}

func TestWritten(t *testing.T) {
	g := NewWithT(t)
	report := advise(t, debian(t, "net.ipv4.tcp_fin_timeout=15"), "6.1.0", Path{Rate: 1e9, RTT: 80 * time.Millisecond, Loss: 0.01, Connections: 2, New: 1000})
	for _, columns := range []int{60, 100} {
		var table strings.Builder
		g.Expect(report.Text(&table, columns)).To(Succeed())
		for line := range strings.Lines(table.String()) {
			g.Expect(len([]rune(strings.TrimSuffix(line, "\n")))).To(BeNumerically("<=", columns), line)
		}
		g.Expect(table.String()).To(And(HavePrefix("1 Gbit/s, RTT 80ms: the path holds 10 MB (6906 segments), 2"),
			ContainSubstring("\nnet.ipv4.tcp_rmem\n  now       4096 131072 6291456\n  advised   4096 131072 40894464\n"),
			ContainSubstring("\nFOLKLORE: "), ContainSubstring("\nnet.ipv4.tcp_fin_timeout = 15\n  belief    it shortens TIME_WAIT\n")))
	}
	// The file is one that Parse reads, with just the advice in it.
	var file strings.Builder
	g.Expect(report.Sysctl(&file)).To(Succeed())
	settings, err := Parse(strings.NewReader(file.String()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(settings).To(HaveLen(len(report.Advice)))
	for _, a := range report.Advice {
		g.Expect(settings).To(HaveKeyWithValue(a.Key, a.Advised))
	}

	nothing := advise(t, debian(t), "6.1.0", Path{Rate: 1e6, RTT: time.Millisecond})
	var table, none strings.Builder
	g.Expect(nothing.Text(&table, 80)).To(Succeed())
	g.Expect(table.String()).To(HaveSuffix("\n\nNothing to change: no setting is in the way on this path.\n"))
	g.Expect(nothing.Sysctl(&none)).To(Succeed())
	g.Expect(Parse(strings.NewReader(none.String()))).To(BeEmpty())
}

func TestBadInput(t *testing.T) {
	g := NewWithT(t)
	version, err := kernelversion.Parse("6.1.0")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = Advise(debian(t), version, Path{RTT: -1, Loss: 1, Connections: -1, New: -1, Idle: -1, Forgets: -1})
	var field *invalid.FieldError
	g.Expect(errors.As(err, &field)).To(BeTrue())
	g.Expect(err).To(MatchError(And(ContainSubstring("Path.Rate"), ContainSubstring("Path.RTT"), ContainSubstring("Path.Loss"), ContainSubstring("Path.Connections"),
		ContainSubstring("Path.New"), ContainSubstring("Path.Idle"), ContainSubstring("Path.Forgets"))))

	good := Path{Rate: 1e6, RTT: time.Millisecond}
	for value, want := range map[string]string{"1 2": `net.ipv4.tcp_rmem is "1 2": want 3 numbers`, "1 2 x": "want 3 numbers", "1 2 -3": "want 3 numbers"} {
		s := debian(t)
		s[keyReceive] = value
		_, err := Advise(s, version, good)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	s := debian(t, "net.ipv4.tcp_sack = yes")
	_, err = Advise(s, version, good)
	g.Expect(err).To(MatchError(ContainSubstring("net.ipv4.tcp_sack")))
}

// Without any settings they are those of the kernel as it comes.
func TestDefaults(t *testing.T) {
	g := NewWithT(t)
	path := Path{Rate: 330e6, RTT: 80 * time.Millisecond} // 3.3 MB
	g.Expect(keys(advise(t, nil, "6.1.0", path))).To(Equal([]string{"tcp_rmem = 4096 131072 13631488"}))
	g.Expect(keys(advise(t, nil, "7.3.0", path))).To(BeEmpty(), "tcp_rmem has 32 MB since Linux 6.16")
}

func TestParse(t *testing.T) {
	g := NewWithT(t)
	settings, err := Parse(strings.NewReader("# a comment\n; another\n\n-net/ipv4/tcp_rmem =  1\t2  3 \nnet.ipv4.conf.eth0/1.x = 5\na.b=1\na.b=2\n"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(settings).To(Equal(Settings{keyReceive: "1 2 3", "net.ipv4.conf.eth0/1.x": "5", "a.b": "2"}))
	for text, want := range map[string]string{
		"a = 1\nb 2\n": `line 2: "b 2": want KEY = VALUE`, "= 3": "want KEY = VALUE", "a b = 3": "want KEY = VALUE",
		"a=" + strings.Repeat("x", 5000): "line 1: ", strings.Repeat("a=1\n", maxLines+1): "more than 100000 lines",
	} {
		_, err := Parse(strings.NewReader(text))
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	read, err := ReadFS(fstest.MapFS{"net/ipv4/tcp_rmem": {Data: []byte("1\t2\t3\n")}, "net/ipv4/else": {Data: []byte("1")}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read).To(Equal(Settings{keyReceive: "1 2 3"}))
}

func FuzzParse(f *testing.F) {
	f.Add("net.ipv4.tcp_rmem = 1 2 3\n-net/ipv4/x=\n#c\n")
	f.Fuzz(func(t *testing.T, file string) {
		settings, err := Parse(strings.NewReader(file))
		if err != nil {
			return
		}
		version, _ := kernelversion.Parse("6.1.0")
		for key, value := range debian(t) {
			if _, ok := settings[key]; !ok {
				settings[key] = value
			}
		}
		report, err := Advise(settings, version, Path{Rate: 1e9, RTT: 80 * time.Millisecond, Loss: .01, Connections: 30_000, New: 3000})
		if err == nil {
			_ = report.Sysctl(&strings.Builder{})
		}
	})
}
