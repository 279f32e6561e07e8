package picture_test

import (
	"encoding/base64"
	"fmt"
	"testing"
)

// box is the beginning of an element that shows its text in the colour that must not show.
const box = `<span class=no style="font:bold 40px monospace;color:#f0f;background:#f0f">`

// A page that shows the secret in whatever way, and however it is drawn.
func TestEchoesAreCovered(t *testing.T) {
	credentials := base64.StdEncoding.EncodeToString([]byte("alice:correct horse"))
	drawing := `<svg xmlns="http://www.w3.org/2000/svg" width="300" height="50"><rect width="300" height="50" fill="#f0f"/><!--correct horse--></svg>`
	field := `<input type=password value=abc style="position:absolute;left:900px;top:300px;width:200px;height:60px;background:#f0f;border:0;color:#f0f">`
	inFrame := func(style string) string {
		return `<iframe style="border:0;width:600px;height:300px;` + style + `" srcdoc="<input type=password style='position:absolute;left:350px;top:50px;width:200px;height:60px;background:#f0f;border:0'>"></iframe>`
	}
	s := show(t, "desktop", "/filled.html")
	for name, body := range map[string]string{
		"texts": box + credentials + "</span>" + "<p>" +
			box + `{"pw":"correct\u0020horse"}</span>` + "<p>" +
			box + "pw=correct+horse&amp;x=1</span>" + "<p>" +
			box + "cor&#8203;rect ho&shy;rse</span>" + "<p>" +
			`<style>b::before { content: attr(data-x); background: #f0f; color: #f0f }</style><b data-x="correct horse">x</b>` + "<p>" +
			`<select size=3><option style="background:#f0f;color:#f0f;font-size:30px">correct horse<option>other</select>` + "<p>" +
			`<textarea style="background:#f0f;font-size:30px">my correct horse</textarea>` + "<p>" +
			`<input value="https://shop/?pw=correct%20horse" style="background:#f0f">` + "<p>" +
			`<p style="text-transform:uppercase">` + box + `correct horse</span></p>`,
		"what a server draws": `<img src="data:image/svg+xml,` + "%3Csvg xmlns='http://www.w3.org/2000/svg' width='300' height='50'%3E%3Crect width='300' height='50' fill='%23f0f'/%3E%3Ctext%3Ecorrect horse%3C/text%3E%3C/svg%3E" + `">` + "<p>" +
			`<img src="data:image/svg+xml;base64,` + base64.StdEncoding.EncodeToString([]byte(drawing)) + `">` + "<p>" +
			`<div style="width:300px;height:50px;background:#f0f url(/x?text=correct%20horse)"></div>`,
		"a zoomed page":         `<style>body { zoom: 1.5 }</style>` + `<input type=password style="position:absolute;left:300px;top:200px;width:200px;height:60px;background:#f0f;border:0">`,
		"a zoomed root":         `<style>html { zoom: 1.5 }</style>` + `<input type=password style="position:absolute;left:300px;top:200px;width:200px;height:60px;background:#f0f;border:0">`,
		"a zoomed field":        `<input type=password style="zoom:2;position:absolute;left:100px;top:100px;width:200px;height:60px;background:#f0f;border:0">`,
		"a turned part":         `<div style="transform:rotate(30deg) scale(0.7)">` + field + `</div>`,
		"a frame":               inFrame(""),
		"a mirrored frame":      inFrame("transform:scaleX(-1)"),
		"a frame upside down":   inFrame("rotate:180deg"),
		"a frame in what turns": `<div style="transform:rotateY(180deg)">` + inFrame("") + `</div>`,
		"a zoomed frame":        inFrame("zoom:1.3"),
		"a frame in what zooms": `<div style="zoom:1.3">` + inFrame("") + `</div>`,
		"a long page, scrolled": `<div style="height:5000px"></div>` + field + `<script>scrollTo(0, 200)</script>`,
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.navigate("/filled.html")
			s.eval(fmt.Sprintf(`document.open(); document.write(%q); document.close(); new Promise((done) => setTimeout(done, 100))`, "<!doctype html><body>"+body+"</body>"))
			if n := count(s.take(mask), forbidden, 4); n > 2 {
				t.Errorf("got %d pixels of what must not show", n)
			}
		})
	}
}
