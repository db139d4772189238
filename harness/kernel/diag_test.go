package kernel

import "testing"

func TestTCPCounts(t *testing.T) {
	const v4 = "sockets: used 7\nTCP: inuse 3 orphan 1 tw 2 alloc 5 mem 9\nUDP: inuse 8 mem 0\nUDPLITE: inuse 0\nRAW: inuse 1\n"
	for _, c := range []struct {
		name, text string
		same       bool
	}{
		{"memory, orphans and other protocols", "sockets: used 8\nTCP: inuse 3 orphan 0 tw 2 alloc 6 mem 1\nUDP: inuse 9 mem 4\n", true},
		{"a socket more", "TCP: inuse 4 orphan 1 tw 2 alloc 5 mem 9\n", false},
		{"one less in TIME-WAIT", "TCP: inuse 3 orphan 1 tw 1 alloc 5 mem 9\n", false},
		{"nothing", "", false},
	} {
		if same := string(tcpCounts([]byte(c.text))) == string(tcpCounts([]byte(v4))); same != c.same {
			t.Errorf("%s: the same is %v", c.name, same)
		}
	}
	if string(tcpCounts([]byte("TCP6: inuse 3\nUDP6: inuse 3\n"))) == string(tcpCounts([]byte("TCP6: inuse 4\nUDP6: inuse 3\n"))) {
		t.Error("a socket of IPv6 more is not seen")
	}
}
