"""OPC 40100-1 (Machine Vision) on the OPC UA wire: systems, states, results, recipes, events.

Source: OPC 40100-1, release 1.00 (2019), sections 7 to 12. May import wires and core.
"""
