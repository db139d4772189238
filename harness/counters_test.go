package harness

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
)

func TestCountersAreWhatJSONHasThemBe(t *testing.T) {
	t.Parallel()
	for _, counters := range []kernel.Counters{
		{},
		{"TcpOutRsts": 1},
		{"TcpMaxConn": -1, "TcpOutSegs": 1 << 62, "IcmpMsgInType3": 0, "odd \" name\n": 7, "snow\u2603": 8, "_": 9},
	} {
		g := NewWithT(t)
		var back kernel.Counters
		g.Expect(json.Unmarshal(appendCounters(nil, counters, counters.Names()), &back)).To(Succeed())
		g.Expect(back).To(Equal(counters))
	}
}

func TestCountersThatWereNotThereAreZero(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	after := kernel.Counters{"IcmpMsgInType3": 2, "TcpOutRsts": 1}
	g.Expect(string(appendCounters(nil, kernel.Counters{"TcpOutRsts": 1}, after.Names()))).To(Equal(`{"IcmpMsgInType3":0,"TcpOutRsts":1}`))
	g.Expect(areNames(after.Names(), after)).To(BeTrue())
	g.Expect(areNames([]string{"IcmpMsgInType3", "TcpOutSegs"}, after)).To(BeFalse())
	g.Expect(areNames([]string{"TcpOutRsts"}, after)).To(BeFalse())
}
