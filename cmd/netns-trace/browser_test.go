// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browser is a Chromium without a window, that is driven through two pipes as a person
// would: mouse, keys, looks. Protocol: chromedevtools.github.io/devtools-protocol.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	session string
	number  int
	// Trouble is what the page's scripts complained of.
	trouble []string
}

// answer is what the browser says: the result of a command, or an event.
type answer struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// openBrowser starts one, which ends with the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("no browser to try it in (Debian's package chromium): %v", err)
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--hide-scrollbars", "--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	t.Cleanup(func() {
		in.Close() // which ends it
		_ = cmd.Wait()
		out.Close()
		// Its children may outlive it, and write into the directory that goes next.
		for range 100 {
			if syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) != nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	var target struct{ TargetID string }
	b.do("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.do("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	b.do("Page.enable", nil, nil)
	b.do("Runtime.enable", nil, nil)
	b.do("Log.enable", nil, nil)
	return b
}

// do gives a command and waits for its result.
func (b *browser) do(method string, params map[string]any, result any) {
	b.t.Helper()
	b.number++
	command := map[string]any{"id": b.number, "method": method, "params": params}
	if params == nil {
		command["params"] = map[string]any{}
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	text, err := json.Marshal(command)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		text, err := b.out.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: the browser ended: %v", method, err)
		}
		var a answer
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &a); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		switch {
		case a.Method == "Runtime.exceptionThrown" || a.Method == "Log.entryAdded":
			b.trouble = append(b.trouble, string(a.Params))
		case a.ID == b.number && a.Error != nil:
			b.t.Fatalf("%s: %s", method, a.Error.Message)
		case a.ID == b.number:
			if result != nil {
				if err := json.Unmarshal(a.Result, result); err != nil {
					b.t.Fatalf("%s: %v", method, err)
				}
			}
			return
		}
	}
}

// eval returns what an expression of the page's is, as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.do("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	return fmt.Sprint(r.Result.Value)
}

// until waits for an expression to be true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); b.eval(expression) != "true"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never true: %s", expression)
		}
	}
}

// visit opens a page and waits for it to be ready.
func (b *browser) visit(url string, width, height int) {
	b.t.Helper()
	b.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.do("Page.navigate", map[string]any{"url": "about:blank"}, nil)
	b.do("Page.navigate", map[string]any{"url": url}, nil)
	b.until(`document.documentElement?.dataset.ready !== undefined`)
	b.settle()
}

// settle waits until what was asked for is drawn.
func (b *browser) settle() {
	b.t.Helper()
	b.do("Runtime.evaluate", map[string]any{"awaitPromise": true, "expression": `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`}, nil)
}

// hover moves the mouse to a place of an element, as parts of its width and height.
func (b *browser) hover(element string, across, down float64) {
	b.t.Helper()
	b.eval(element + `.scrollIntoView({ block: "center" })`)
	b.settle()
	var at [2]float64
	text := b.eval(fmt.Sprintf(`(() => { const r = %s.getBoundingClientRect(); return JSON.stringify([r.x + r.width * %g, r.y + r.height * %g]); })()`, element, across, down))
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		b.t.Fatal(err)
	}
	b.do("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": at[0], "y": at[1]}, nil)
	b.settle()
}

// press presses keys, one after another: characters, or names such as Escape.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		down := map[string]any{"type": "keyDown", "key": key}
		if len(key) == 1 {
			down["text"] = key
		}
		b.do("Input.dispatchKeyEvent", down, nil)
		b.do("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key}, nil)
	}
	b.settle()
}

// keep writes what the page looks like, for a person to see, if PAGE_KEEP is a
// directory.
func (b *browser) keep(name string) {
	b.t.Helper()
	dir := os.Getenv("PAGE_KEEP")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	b.do("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(dir+"/"+name+".png", png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// noTrouble is for the end: the page's scripts ran, and asked for nothing.
func (b *browser) noTrouble() {
	b.t.Helper()
	if len(b.trouble) > 0 {
		b.t.Errorf("the page's scripts complain:\n%s", strings.Join(b.trouble, "\n"))
	}
}
