package linkemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"lastmile/internal/linkemu/linktest"
)

// insideCommand makes the test binary a visitor: it stands for a browser.
const insideCommand = "visit-inside"

// visit gets each address by its own resolver and its own TCP, as a browser does, and prints what came of it.
func visit(addresses []string) int {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: (&net.Dialer{Resolver: &net.Resolver{PreferGo: true}}).DialContext}}
	for _, a := range addresses {
		began := time.Now()
		resp, err := client.Get(a)
		if err != nil {
			fmt.Println("error", err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(string(body), time.Since(began).Milliseconds())
	}
	return 0
}

// A program in the namespace has the link for its only way out: its DNS, its connects and its bytes cross it, and the guard holds.
func TestProgramInsideTheNetwork(t *testing.T) {
	const rtt = 200 * time.Millisecond
	z := &zone{hosts: map[string]string{"example.com": "127.0.0.1", "other.test": "127.0.0.1"}}
	o := Options{Namespace: true, resolver: z.resolver(t)}
	why := CheckNamespace(t.Context())
	n := open(t, far(rtt), o, "example.com", "127.0.0.1")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	onWire := strings.Fields(n.HostRules()[0])[2]
	if err := n.ServeBrowser(); err != nil || n.Proxy() != "" {
		t.Errorf("got proxy %s, want none", n.Proxy())
	}

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], insideCommand,
		"http://example.com:"+port, "http://"+onWire+":"+port, "http://other.test:"+port, "http://192.168.9.9:"+port)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	watch := linktest.Start(t)
	err := n.Start(cmd)
	if why != nil { // a machine that does not allow it: then Start has to say the same
		if err == nil || err.Error() != why.Error() {
			t.Errorf("got %v from Start, want what CheckNamespace says: %v", err, why)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("got %q, want four lines", lines)
	}
	var took [2]int
	for i, least := range []time.Duration{3 * rtt, 2 * rtt} { // DNS, connect and request; connect and request
		if _, err := fmt.Sscanf(lines[i], "hello %d", &took[i]); err != nil {
			t.Errorf("got %q, want hello and how long it took", lines[i])
		}
		watch.Holds(lines[i], time.Duration(took[i])*time.Millisecond, least)
	}
	for _, line := range lines[2:] {
		if !strings.HasPrefix(line, "error") {
			t.Errorf("got %q, want an error: the host is not allowed", line)
		}
	}
	// Steps without a browser go by the other device, over the same link.
	c, err := n.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	link := n.Close()
	if link.Mode != "namespace" || link.Blocked < 2 {
		t.Errorf("got mode %s and %d attempts blocked (%q), want namespace and one for each forbidden host at least", link.Mode, link.Blocked, link.BlockedHosts)
	}
}
