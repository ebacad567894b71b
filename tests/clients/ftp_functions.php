<?php
// PHP's ftp_* as people use them: ftp_functions.php clear|tls HOST PORT USER PASSWORD: sends the folder out in all the
// ways that PHP has, lists, fetches all into back.
[, $mode, $host, $port, $user, $password] = $argv;

function must($done, string $what) {
    if ($done === false || $done === -1) { fwrite(STDERR, "$what failed\n"); exit(1); }
    return $done;
}

$ftp = must($mode === 'tls' ? ftp_ssl_connect($host, $port, 30) : ftp_connect($host, $port, 30), 'connect');
must(ftp_login($ftp, $user, $password), 'login');
must(ftp_pasv($ftp, true), 'pasv');
$names = array_values(array_diff(scandir('out'), ['.', '..']));
foreach ($names as $number => $name) {
    $path = "out/$name";
    switch ($number % 4) {
        case 0:
            must(ftp_put($ftp, $name, $path, FTP_BINARY), "put $name");
            break;
        case 1:
            $state = ftp_nb_put($ftp, $name, $path, FTP_BINARY);
            while ($state === FTP_MOREDATA) { $state = ftp_nb_continue($ftp); }
            must($state === FTP_FINISHED, "nb_put $name");
            break;
        case 2:
            must(ftp_append($ftp, $name, $path, FTP_BINARY), "append $name");
            break;
        case 3:
            must(ftp_fput($ftp, "$name.tmp", fopen($path, 'r'), FTP_BINARY), "fput $name");
            must(ftp_rename($ftp, "$name.tmp", $name), "rename $name");
            break;
    }
    must(ftp_size($ftp, $name) === filesize($path), "size of $name");
    must(ftp_mdtm($ftp, $name), "time of $name");
}
$listed = array_column(must(ftp_mlsd($ftp, '.'), 'mlsd'), 'name');
sort($listed);
must($listed === $names, 'mlsd: ' . implode(' ', $listed));
must(count(ftp_rawlist($ftp, '.')) === count($names), 'rawlist');
foreach ($names as $name) { must(ftp_get($ftp, "back/$name", $name, FTP_BINARY), "get $name"); }
must(ftp_close($ftp), 'close');
