package profiles_test

import (
	"fmt"
	"log"

	"github.com/tcplab/tcplab/impair/profiles"
)

// A link with a name is two impairments, one for each direction.
func ExampleGet() {
	link, err := profiles.Get("satellite-leo")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("down:", link.Down())
	fmt.Println("up:  ", link.Up())
	// Output:
	// down: limit 476 delay 22ms rate 87250Kbit
	// up:   limit 89 delay 22ms rate 13540Kbit
}

// A name that does not exist is answered by those near it.
func ExampleUnknownError() {
	_, err := profiles.Get("chrome-5g")
	fmt.Println(err)
	// Output:
	// profile "chrome-5g": there is none of that name; near it are chrome-3g
}
