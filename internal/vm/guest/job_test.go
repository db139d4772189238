package guest

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/tcplab/tcplab/harness/kernel"
)

// /init does without package kernel, and what it prepares has to be what that package looks for.
func TestTracingIsWhatIsLookedFor(t *testing.T) {
	if tracingInstance != kernel.PreparedInstance || tracingBufferKiB != kernel.DefaultBufferKiB {
		t.Errorf("instance %q of %d KiB, looked for is %q of %d KiB", tracingInstance, tracingBufferKiB, kernel.PreparedInstance, kernel.DefaultBufferKiB)
	}
}

// FuzzParseJob: /init takes its job from a device, and what it takes is what was written.
func FuzzParseJob(f *testing.F) {
	f.Add([]byte(`{"Args":["-test.v",""],"Env":["A=b"],"Seed":18446744073709551615}`))
	f.Add([]byte(`{"Args":null,"Env":[],"Seed":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		job, err := parseJob(text)
		if err != nil {
			return
		}
		written, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseJob(written); err != nil || !reflect.DeepEqual(again, job) {
			t.Errorf("%+v became %+v, %v", job, again, err)
		}
	})
}
