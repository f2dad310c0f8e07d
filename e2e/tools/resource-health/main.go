// Health of Kubernetes objects as two deployment tools see it: kstatus, which Flux and `kubectl apply --wait` of
// cli-utils follow, and a health script of Argo CD.
//
// Usage: resource-health <script.lua>, with a JSON list of objects on standard input. Prints a JSON list of the same
// length: {"kstatus": …, "kstatusMessage": …, "argo": …, "argoMessage": …}.
//
// The script runs as Argo CD runs it (util/lua): the same interpreter with its base, package and table libraries and
// nothing else, the object as the global `obj`, one second at most, and a status that Argo CD knows. An object that is
// being deleted is Progressing without asking the script, as there.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type health struct {
	Kstatus        string `json:"kstatus"`
	KstatusMessage string `json:"kstatusMessage"`
	Argo           string `json:"argo"`
	ArgoMessage    string `json:"argoMessage"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "resource-health:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: resource-health <script.lua>")
	}
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var objects []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	all := []health{}
	for _, text := range objects {
		object := &unstructured.Unstructured{}
		// Whole numbers become int64, as kstatus wants them.
		if err := object.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		result, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("kstatus of %q: %w", object.GetName(), err)
		}
		argo, message, err := argoHealth(object, string(script))
		if err != nil {
			return fmt.Errorf("script for %q: %w", object.GetName(), err)
		}
		all = append(all, health{result.Status.String(), result.Message, argo, message})
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func argoHealth(object *unstructured.Unstructured, script string) (string, string, error) {
	if object.GetDeletionTimestamp() != nil {
		return "Progressing", "Pending deletion", nil
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(library.open), NRet: 0, Protect: true}, lua.LString(library.name)); err != nil {
			return "", "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("it returns a %s instead of a table", state.Get(-1).Type())
	}
	found, message := table.RawGetString("status").String(), table.RawGetString("message")
	switch found {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
	default:
		return "", "", fmt.Errorf("%q is no health status of Argo CD", found)
	}
	if message == lua.LNil {
		return found, "", nil
	}
	return found, message.String(), nil
}

// value is a JSON value as Lua has it: lists count from 1, and null is absent.
func value(state *lua.LState, from interface{}) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case float64:
		return lua.LNumber(from)
	case int64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []interface{}:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]interface{}:
		table := state.CreateTable(0, len(from))
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}
