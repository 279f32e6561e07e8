package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// floorCommand makes the test binary the least that can do a recording: see floor.
const floorCommand = "drive-raw"

// careful makes the floor do what no driver should leave out: see floor.
const careful = "careful"

// floor does a recording by bare commands of the DevTools protocol: it looks, presses and types, and knows nothing of requests, vitals or
// faults. What it costs is what any driver costs at least. Careful, it also waits until an element has stood still for two frames before
// it is pressed, and has Chromium tell of every request. It returns the exit status.
func floor(path string, how ...string) int {
	if err := driveRaw(path, slices.Contains(how, careful)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type rawStep struct {
	Type, URL, Value string
	Selectors        [][]string
	Count            int
	AssertedEvents   []any
	Width, Height    int
}

func driveRaw(path string, careful bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var recording struct{ Steps []rawStep }
	if err := json.Unmarshal(text, &recording); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "floor-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c, err := startRaw(dir)
	if err != nil {
		return err
	}
	defer func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait() // killed
	}()
	c.careful = careful
	if err := c.open(); err != nil {
		return err
	}
	for i, step := range recording.Steps {
		if err := c.step(step); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// raw is a browser behind its pipe.
type raw struct {
	cmd     *exec.Cmd
	to      *os.File
	from    *bufio.Reader
	next    int
	session string
	frame   string
	loads   int // of the main frame's documents
	careful bool
}

func startRaw(dir string) (*raw, error) {
	theirsIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirsOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	args := append([]string{"--remote-debugging-pipe", "--user-data-dir=" + dir}, strings.Fields(os.Getenv("CHROMIUM_FLAGS"))...)
	cmd := exec.Command(os.Getenv("CHROMIUM"), args...)
	cmd.ExtraFiles = []*os.File{theirsIn, theirsOut}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, _ = theirsIn.Close(), theirsOut.Close()
	return &raw{cmd: cmd, to: in, from: bufio.NewReaderSize(out, 1<<20)}, nil
}

// message is what a browser says.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// call sends a command and reads until its answer, minding loads on the way.
func (c *raw) call(method string, params map[string]any, result any) error {
	c.next++
	command := map[string]any{"id": c.next, "method": method, "params": params}
	if c.session != "" {
		command["sessionId"] = c.session
	}
	body, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := c.to.Write(append(body, 0)); err != nil {
		return err
	}
	for {
		m, err := c.read()
		if err != nil {
			return err
		}
		if m.ID != c.next {
			continue
		}
		if m.Error != nil {
			return errors.New(method + ": " + m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	}
}

func (c *raw) read() (m message, err error) {
	text, err := c.from.ReadBytes(0)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m); err != nil {
		return m, err
	}
	if m.Method == "Page.lifecycleEvent" {
		var event struct{ FrameID, Name string }
		if err := json.Unmarshal(m.Params, &event); err != nil {
			return m, err
		}
		if event.FrameID == c.frame && event.Name == "load" {
			c.loads++
		}
	}
	return m, nil
}

func (c *raw) open() error {
	var fresh struct{ BrowserContextID string }
	if err := c.call("Target.createBrowserContext", nil, &fresh); err != nil {
		return err
	}
	var made struct{ TargetID string }
	if err := c.call("Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": fresh.BrowserContextID}, &made); err != nil {
		return err
	}
	var attached struct{ SessionID string }
	if err := c.call("Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &attached); err != nil {
		return err
	}
	c.session, c.frame = attached.SessionID, made.TargetID
	if err := c.call("Page.enable", nil, nil); err != nil {
		return err
	}
	if c.careful {
		if err := c.call("Network.enable", nil, nil); err != nil {
			return err
		}
	}
	return c.call("Page.setLifecycleEventsEnabled", map[string]any{"enabled": true}, nil)
}

func (c *raw) step(st rawStep) error {
	loads := c.loads
	switch st.Type {
	case "setViewport":
		return c.call("Emulation.setDeviceMetricsOverride",
			map[string]any{"width": st.Width, "height": st.Height, "deviceScaleFactor": 1, "mobile": false}, nil)
	case "navigate":
		if err := c.call("Page.navigate", map[string]any{"url": st.URL}, nil); err != nil {
			return err
		}
		return c.loaded(loads)
	case "click":
		if err := c.click(st.Selectors[0][0]); err != nil {
			return err
		}
		if len(st.AssertedEvents) > 0 {
			return c.loaded(loads)
		}
		return nil
	case "change":
		if _, err := c.await(fmt.Sprintf("document.querySelector(%q)?.focus(), document.activeElement?.matches(%q)", st.Selectors[0][0], st.Selectors[0][0])); err != nil {
			return err
		}
		return c.call("Input.insertText", map[string]any{"text": st.Value}, nil)
	case "waitForElement":
		_, err := c.await(fmt.Sprintf("document.querySelectorAll(%q).length >= %d", st.Selectors[0][0], max(st.Count, 1)))
		return err
	}
	return fmt.Errorf("got type %s, want one that the floor knows", st.Type)
}

// click presses the middle of the element once it is visible.
func (c *raw) click(selector string) error {
	at, err := c.await(fmt.Sprintf(`(el => { if (!el) return null; el.scrollIntoViewIfNeeded();
		const b = el.getBoundingClientRect(); return b.width ? [b.x + b.width / 2, b.y + b.height / 2] : null })(document.querySelector(%q))`, selector))
	if err != nil {
		return err
	}
	if c.careful {
		const twoFrames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
		if err := c.call("Runtime.evaluate", map[string]any{"awaitPromise": true, "expression": twoFrames}, nil); err != nil {
			return err
		}
	}
	var point [2]float64
	if err := json.Unmarshal(at, &point); err != nil {
		return err
	}
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		params := map[string]any{"type": kind, "x": point[0], "y": point[1]}
		if kind != "mouseMoved" {
			params["button"], params["clickCount"] = "left", 1
		}
		if err := c.call("Input.dispatchMouseEvent", params, nil); err != nil {
			return err
		}
	}
	return nil
}

// await evaluates at each frame until the value is truthy.
func (c *raw) await(expression string) (json.RawMessage, error) {
	var got struct {
		Result struct{ Value json.RawMessage }
	}
	err := c.call("Runtime.evaluate", map[string]any{"awaitPromise": true, "returnByValue": true, "expression": fmt.Sprintf(
		`new Promise(done => { const look = () => { const v = (%s); v ? done(v) : requestAnimationFrame(look) }; look() })`, expression)}, &got)
	return got.Result.Value, err
}

// loaded waits for a load after so many.
func (c *raw) loaded(after int) error {
	for c.loads <= after {
		if _, err := c.read(); err != nil {
			return err
		}
	}
	return nil
}
