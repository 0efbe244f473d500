"""A fleet of hosts on one machine: namespaces, links, processes, and the record by which all of it is removed again."""
