fn main(){ print!("{}", secure_exporter_operator::crd_yaml()); }
