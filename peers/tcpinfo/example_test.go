package tcpinfo_test

import (
	"encoding/json"
	"fmt"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// A kernel that fills only the first eleven bytes of the struct says nothing of the RTO.
func Example() {
	info := tcpinfo.Parse([]byte{1, 0, 0, 0, 0, 7, 0x77, 0, 0, 0, 0})
	text, err := json.Marshal(info)
	fmt.Println(info.Snd_wscale, info.Has("rto"), string(text), err)
	// Output: 7 false {"state":1,"ca_state":0,"retransmits":0,"probes":0,"backoff":0,"options":7,"snd_wscale":7,"rcv_wscale":7,"delivery_rate_app_limited":0,"fastopen_client_fail":0} <nil>
}
