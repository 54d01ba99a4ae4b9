// Command stele-informer follows resources with informers of client-go, exactly as a controller
// does, and writes down what it is told.
//
//	stele-informer --kubeconfig FILE RESOURCE.VERSION.GROUP...
//
// Standard output is JSON lines: {"synced","rv"} when a resource was listed, {"event","resource",
// "namespace","name","uid","rv"} for every notification. A line on standard input asks for the
// caches: {"cache","items":[[namespace,name,uid,rv,sha256]...]} for each resource, then
// {"done":true}. It ends when standard input does.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

var (
	output = bufio.NewWriter(os.Stdout)
	lock   sync.Mutex
)

func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	lock.Lock()
	defer lock.Unlock()
	output.Write(line)
	output.WriteByte('\n')
	if err := output.Flush(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type event struct {
	Event     string `json:"event"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	RV        string `json:"rv"`
}

func tell(what, resource string, object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	item := object.(*unstructured.Unstructured)
	say(event{what, resource, item.GetNamespace(), item.GetName(), string(item.GetUID()), item.GetResourceVersion()})
}

type followed struct {
	name     string
	informer cache.SharedIndexInformer
}

func follow(factory dynamicinformer.DynamicSharedInformerFactory, name string) followed {
	full, _ := schema.ParseResourceArg(name)
	if full == nil {
		fail(fmt.Errorf("%q is not RESOURCE.VERSION.GROUP", name))
	}
	informer := factory.ForResource(*full).Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell("add", full.Resource, object) },
		UpdateFunc: func(_, object any) { tell("update", full.Resource, object) },
		DeleteFunc: func(object any) { tell("delete", full.Resource, object) },
	})
	if err != nil {
		fail(err)
	}
	return followed{full.Resource, informer}
}

func dump(all []followed) {
	for _, one := range all {
		items := [][5]string{}
		for _, object := range one.informer.GetStore().List() {
			item := object.(*unstructured.Unstructured)
			text, err := json.Marshal(item.Object)
			if err != nil {
				fail(err)
			}
			digest := sha256.Sum256(text)
			items = append(items, [5]string{item.GetNamespace(), item.GetName(), string(item.GetUID()),
				item.GetResourceVersion(), hex.EncodeToString(digest[:])})
		}
		sort.Slice(items, func(a, b int) bool {
			return items[a][0]+"/"+items[a][1] < items[b][0]+"/"+items[b][1]
		})
		say(map[string]any{"cache": one.name, "items": items})
	}
	say(map[string]any{"done": true})
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `file`")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		fail(err)
	}
	config.QPS, config.Burst = 1000, 1000
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		fail(err)
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	var all []followed
	for _, name := range flag.Args() {
		all = append(all, follow(factory, name))
	}
	ctx, cancel := context.WithCancel(context.Background())
	factory.Start(ctx.Done())
	for _, one := range all {
		if !cache.WaitForCacheSync(ctx.Done(), one.informer.HasSynced) {
			fail(fmt.Errorf("%s did not sync", one.name))
		}
		say(map[string]any{"synced": one.name, "rv": one.informer.LastSyncResourceVersion()})
	}
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		dump(all)
	}
	cancel()
	factory.Shutdown()
}
