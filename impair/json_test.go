package impair

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzJSON: what is read of a record can be written, and is read again as the same.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"asked":{"delay_ns":25000000,"jitter_ns":1000,"loss":{"model":"gilbert-elliott","p":1,"r":10},"rate":{"rate":"1 Mbit/s"},"slot":{"min_delay_ns":1000000}}}`))
	f.Add([]byte(`{"got":{"loss":{"model":"four-state","p13":1},"limit":-1,"seed":18446744073709551615,"distribution":"normal"},"notes":["x"]}`))
	written, err := json.Marshal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(append([]byte(`{"asked":`), written...), '}'))
	f.Fuzz(func(t *testing.T, text []byte) {
		var applied Applied
		if json.Unmarshal(text, &applied) != nil {
			return
		}
		_ = applied.Asked.Validate()
		first, err := json.Marshal(applied)
		if err != nil {
			return // such as a number that JSON has not
		}
		var back Applied
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, err := json.Marshal(back); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s became %s, %v", first, second, err)
		}
	})
}
