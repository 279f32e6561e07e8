package browser
import ("testing";"lastmile/internal/runs";"lastmile/internal/scenario";"time")
func TestProf(t *testing.T){
 url:=site(t); r:=testRunner(t,Options{})
 for range 5 {
 a:=time.Now(); sc:=scenario.Scenario{}
 s,err:=r.Open(t.Context(), &runs.Assignment{Scenario:sc}); if err!=nil{t.Fatal(err)}
 b:=time.Now(); scope:=scenario.NewScope(&sc, scenario.Combination{}, "run", nil)
 next:=click("#next"); next.AssertedEvents=[]scenario.AssertedEvent{{Type:"navigation"}}
 var d []float64; var w []time.Duration
 for _,st:=range []scenario.Step{navigate(url+"/shop.html"), click("#buy"), click("aria/Close window"), next} { x:=time.Now(); g,err:=s.Step(t.Context(),&st,scope); if err!=nil{t.Fatal(err)}; d=append(d,g.DurationMS); w=append(w,time.Since(x).Round(time.Millisecond)) }
 c:=time.Now(); s.Close()
 t.Log("open",b.Sub(a),"steps",d,w,"close",time.Since(c))
 }
}
