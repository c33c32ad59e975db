"""How types, fields, permissions, IDs, connections and batched fields are declared."""
