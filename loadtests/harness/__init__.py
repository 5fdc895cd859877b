"""What load tests are made of: servers, clients, records of answers, numbers and reports."""
