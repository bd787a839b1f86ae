// client.go URL TOKEN COUNT BYTES KIND…: as clients/README says, with net/http's transport.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var (
	client = &http.Client{Timeout: 30 * time.Second}
	url    = os.Args[1]
	token  = os.Args[2]
)

func ask(path, body, contentType, encoding string, known bool) (string, error) {
	// A reader of unknown kind: net/http repeats no request on its own, and counts none as answered twice.
	request, err := http.NewRequest("POST", url+path, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		return "", err
	}
	request.ContentLength = int64(len(body))
	request.Header.Set("Content-Type", contentType)
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	if known {
		request.Header.Set("X-Goog-IAP-JWT-Assertion", token)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return strconv.Itoa(response.StatusCode), err
}

func main() {
	count, _ := strconv.Atoi(os.Args[3])
	size, _ := strconv.Atoi(os.Args[4])
	row := "x=[" + strings.Repeat("0,1,", 18) + "1]"
	body := strings.Repeat("z", size)
	for _, kind := range os.Args[5:] {
		part := strings.Split(kind, "|")
		lost := 0
		for range count {
			got, err := ask(part[1], body, part[2], part[3], part[4] != "")
			if err == nil && got != part[0] {
				err = fmt.Errorf("%s instead of %s", got, part[0])
			}
			if err == nil {
				var good string
				good, err = ask("/", row, "application/x-www-form-urlencoded", "", true)
				if err == nil && good != "200" {
					err = fmt.Errorf("good: %s", good)
				}
			}
			if err != nil {
				lost++
				fmt.Fprintln(os.Stderr, err)
			}
		}
		fmt.Println(part[0], part[1], lost)
	}
}
