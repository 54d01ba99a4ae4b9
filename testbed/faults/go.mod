module stele/testbed/stele-faults

go 1.26.0
