package web_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/tcplab/tcplab/peers/course/web"
)

// A server that carries out each request, and whose first answer is lost.
func Example() {
	var carriedOut atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if carriedOut.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", "5")
	}))
	defer server.Close()

	for _, transport := range []http.RoundTripper{web.Retry{}, web.RetryAll{}} {
		carriedOut.Store(0)
		client := http.Client{Transport: transport}
		response, err := client.Post(server.URL, "text/plain", strings.NewReader("an order"))
		if err == nil {
			response.Body.Close()
		}
		fmt.Printf("answered: %v, carried out: %d\n", err == nil, carriedOut.Load())
	}
	answer, err := web.Head(context.Background(), web.Request{Address: server.Listener.Addr().String()})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status, answer.Header.Get("Content-Length"))
	// Output:
	// answered: false, carried out: 1
	// answered: true, carried out: 2
	// 200 5
}
